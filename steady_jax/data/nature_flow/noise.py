"""Smooth random textures, read at any place: what waves, flames and clouds are made of.

A texture repeats after one period in both directions. Two readings that move at different speeds do not repeat
together, so what is made of two readings never loops.
"""

import numpy as np
from jaxtyping import Float

TEXELS_PER_CYCLE = 6  # of the finest detail: bilinear reading stays smooth


def textures(rng: np.random.Generator, size: int, slope: float = 1.6) -> tuple[np.ndarray, np.ndarray]:
    """Draws two independent textures with a spectrum k^-slope in amplitude, like clouds or turbulence.

    Args:
        rng: where the randomness comes from.
        size: texels per period, a power of two.
        slope: how fast fine detail fades; 3 is very soft.

    Returns:
        Two arrays [size + 1, size + 1], float32, mean 0 and deviation 1; the last row and column repeat the first.
    """
    finest = size // TEXELS_PER_CYCLE
    cycles = np.arange(-finest, finest + 1)
    radius = np.hypot(cycles[:, None], cycles[None, :])
    amplitude = np.where((radius >= 2) & (radius <= finest), np.maximum(radius, 1) ** -slope, 0).astype(np.float32)
    waves = rng.standard_normal((2, *amplitude.shape), np.float32) * amplitude
    spectrum = np.zeros((size, size), np.complex64)
    spectrum[np.ix_(cycles % size, cycles % size)] = waves[0] + 1j * waves[1]
    field = np.fft.ifft2(spectrum)
    return _finished(field.real), _finished(field.imag)


def _finished(field: np.ndarray) -> np.ndarray:
    """Deviation 1, and the first row and column once more at the end, so that a reading needs no second wrap."""
    return np.ascontiguousarray(np.pad(field / field.std(), (0, 1), mode="wrap"), np.float32)


def read(
    texture: Float[np.ndarray, "size size"], x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Reads a texture between its texels (bilinear).

    Args:
        texture: as `textures` gives it.
        x: places from left to right, in periods.
        y: places from top to bottom, in periods, of the same shape.

    Returns:
        Values, float32, of the shape of x.
    """
    stride = texture.shape[0]
    size = stride - 1
    x, y = x * np.float32(size), y * np.float32(size)
    left, top = np.floor(x), np.floor(y)
    x, y = x - left, y - top
    corner = (top.astype(np.int32) & (size - 1)) * stride + (left.astype(np.int32) & (size - 1))
    upper, lower = texture.ravel(), texture.ravel()[stride:]
    above = upper.take(corner)
    below = lower.take(corner)
    above += x * (upper[1:].take(corner) - above)
    below += x * (lower[1:].take(corner) - below)
    return above + y * (below - above)


def moved(speed: float, seconds: float) -> np.float32:
    """How far a texture has moved, in periods; whole periods are left out, so hours keep their precision."""
    return np.float32(speed * seconds % 1.0)


def step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    ramp = np.minimum(np.maximum((values - np.float32(low)) * np.float32(1 / (high - low)), 0), 1)
    return ramp * ramp * (3 - 2 * ramp)
