"""Videos whose motion, change and fading a reader can compute."""

import numpy as np
from helpers_motion import grid, levels, texture


def disc(height=64, width=64, radius=20.0):
    """Where the disc of `moving_disc` is: in the middle, `radius` in 64ths of the height."""
    y, x = grid(height, width)
    return np.hypot(y - 32, x - 32 * width / height) < radius


def moving_disc(steps, height=64, width=64, angle=0.0, seed=0):
    """A disc in the middle whose texture moves before a still one: by `steps[t]`, in 64ths of the height, to frame t+1.

    Args:
        angle: of the motion; 0 is to the right, a quarter turn down.
    """
    inside, behind, (y, x) = texture(seed), texture(seed + 100), grid(height, width)
    still, mask = behind(y, x), disc(height, width)[..., None]
    way = np.concatenate([[0], np.cumsum(steps)])
    return levels([np.where(mask, inside(y - s * np.sin(angle), x - s * np.cos(angle)), still) for s in way])


def flat(values, height=8, width=8):
    """Frames of one grey each."""
    return np.broadcast_to(np.asarray(values, np.uint8)[:, None, None, None], (len(values), height, width, 3)).copy()


def steady_flow(lengths, height=16, width=16, angle=0.0):
    """Flow of pair t: `lengths[t]` pixels everywhere, to the right at angle 0."""
    direction = np.array([np.cos(angle), np.sin(angle)])
    flow = np.asarray(lengths)[:, None, None, None] * np.ones((1, height, width, 1)) * direction
    return flow.astype(np.float32)


def half(height=16, width=16):
    """The left half of a picture."""
    return np.broadcast_to(np.arange(width) < width // 2, (height, width))
