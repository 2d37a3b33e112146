"""Clips that move as told: drifting textures, flicker, noise."""

import numpy as np

FPS = 16


def texture(seed=0, *, waves=16, finest=4, contrast=45.0):
    """A picture without end, as a function of positions [h, w] in 64ths of its height: values [h, w, 3], in levels."""
    rng = np.random.default_rng(seed)
    lengths = finest * np.exp(rng.uniform(0, 1.5, waves))
    angles, phases = rng.uniform(0, 2 * np.pi, (2, waves))
    colours = rng.normal(size=(waves, 3)) * contrast / np.sqrt(waves / 2)

    def at(y, x):
        along = (y[..., None] * np.sin(angles) + x[..., None] * np.cos(angles)) / lengths
        return 128 + np.cos(np.float32(2 * np.pi * along + phases)) @ colours

    return at


def grid(height, width):
    """Where the middles of pixels are, in 64ths of the height."""
    y, x = np.mgrid[:height, :width]
    return (y + 0.5) * 64 / height, (x + 0.5) * 64 / height


def drift(speed, frames=33, height=64, width=64, angle=0.4, seed=0, **settings):
    """A texture that moves over the whole picture, at `speed` heights per second."""
    at, (y, x) = texture(seed, **settings), grid(height, width)
    way = 64 * speed / FPS * np.arange(frames)
    return levels([at(y - s * np.sin(angle), x - s * np.cos(angle)) for s in way])


def levels(values):
    return np.clip(np.round(np.asarray(values)), 0, 255).astype(np.uint8)


def noisy(clip, sigma, seed=5):
    """Independent noise on each value of each pixel in each frame, in levels."""
    return levels(clip + np.random.default_rng(seed).normal(size=clip.shape) * sigma)


def compressed(clip, step):
    """Each frame for itself, its 8x8 blocks rounded to `step` levels in their cosine transform."""
    k = np.arange(8)
    waves = np.sqrt(2 / 8) * np.cos(np.pi * (2 * k + 1) * k[:, None] / 16)
    waves[0] /= np.sqrt(2)
    frames, height, width, _ = clip.shape
    blocks = clip.reshape(frames, height // 8, 8, width // 8, 8, 3)
    coded = np.round(np.einsum("ij,fajbkc,lk->faiblc", waves, blocks, waves) / step) * step
    return levels(np.einsum("ij,faiblc,lk->fajbkc", waves, coded, waves)).reshape(clip.shape)
