"""Does a video repeat itself?

Source: arXiv 2608.28694 for the definition.
"""

import cv2
import numpy as np

from steady_jax.evaluation.flow import grey
from steady_jax.shapes import Bool, Float, UInt8

SIZE = (48, 27)  # columns and rows of a thumbnail
LAG, RUN = 2.0, 1.0  # seconds


def recurrence(frames: UInt8[np.ndarray, "kept h w 3"], rate: float, mask: Bool[np.ndarray, "h w"]) -> float | None:
    """How alike the two most alike seconds are that lie 2 s apart or more: 1 is a loop.

    The highest mean correlation, over runs of 1 s at one lag, of thumbnails of the mask's box. Longer videos have more
    seconds to be alike by chance (a sea that never loops: 0.7 in 10 s, 0.9 in 240 s), so compare equal lengths.

    Args:
        rate: of the frames, per second.
    Returns:
        -1..1; None for less than 3 s, an empty mask, or thumbnails without any contrast.
    """
    lag, run = round(LAG * rate), max(round(RUN * rate), 1)
    if not mask.any() or len(frames) < lag + run:
        return None
    pictures = thumbnails(frames, mask)
    if not np.linalg.norm(pictures, axis=1).all():
        return None
    alike = pictures @ pictures.T
    means = np.ones(run) / run
    lags = range(lag, len(frames) - run + 1)
    return float(max(np.convolve(np.diagonal(alike, apart), means, "valid").max() for apart in lags))


def thumbnails(frames: UInt8[np.ndarray, "f h w 3"], mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "f pixels"]:
    """The mask's box of each frame, grey, 48x27, less its mean, of length 1 (or 0 where it is flat)."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = frames[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = np.stack([cv2.resize(grey(frame), SIZE, interpolation=cv2.INTER_AREA).ravel() for frame in box])
    small = small - small.mean(1, keepdims=True, dtype=np.float32)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
