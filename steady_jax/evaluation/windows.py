"""Which frames of a video are looked at, and which of them are its beginning and its end.

Frames are *kept* at about 8 per second; a *pair* t is the kept frames t and t + 1.

Source: the published benchmark of fixed-camera long videos, arXiv 2608.28694, whose constants these are.
"""

import dataclasses

import numpy as np

from steady_jax.shapes import UInt8

RATE = 8  # kept frames per second, about
PERCENT = 12  # of the kept frames, in a window
LEAST = 3  # pairs in a window


@dataclasses.dataclass(frozen=True)
class Windows:
    """Parts of a video, in pairs. As slices of kept frames they name the first frame of each pair."""

    first: slice  # where masks are taken from
    early: slice
    late: slice


def step(fps: float) -> int:
    """Every how manieth frame is kept."""
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    return max(1, round(fps / RATE))


def kept(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> UInt8[np.ndarray, "kept h w 3"]:
    """Every k-th frame, k = max(1, round(fps / 8)), beginning with the first.

    Raises:
        ValueError: less than two are kept.
    """
    every = frames[:: step(fps)]
    if len(every) < 2:
        raise ValueError(
            f"a video is measured from {step(fps) + 1} frames on at {fps} per second, got {len(frames)}; make it longer"
        )
    return every


def windows(pairs: int) -> Windows:
    """Windows of w = max(3, floor(0.12 frames)) pairs: the first w, the w after them (or the same), and the last w."""
    if pairs < 1:
        raise ValueError(f"windows are cut from 1 pair of frames at least, got {pairs}")
    size = min(max(LEAST, (pairs + 1) * PERCENT // 100), pairs)
    early = size if 2 * size <= pairs else 0
    return Windows(slice(0, size), slice(early, early + size), slice(pairs - size, pairs))


def by_segment(values: np.ndarray, segments: int = 30) -> np.ndarray:
    """Means over equal segments of a row of numbers; a row shorter than that stays as it is."""
    return np.array([part.mean() for part in np.array_split(values, min(segments, len(values)))])
