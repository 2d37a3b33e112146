"""How far everything moves from one frame to the next: dense optical flow by OpenCV's DIS.

DIS (preset medium) on pictures of 288 rows, to which smaller ones are enlarged: of a textured disc of 64x64 pictures
that moves 0.1..2 pixels before a still texture, it finds each pixel's motion to 0.01 pixels (Farneback, at its best
size: 0.01..0.07), and none behind it. Noise of 3 levels adds 0.04 pixels where nothing moves. What jumps by most of its
own size (4 pixels, in that texture) is found too slow by both.

Source: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search", arXiv 1603.03590.
"""

import cv2
import numpy as np

from steady_jax.shapes import Float, UInt8

ROWS = 288


def dense_flow(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "pairs h w 2"]:
    """The way of what each pixel of a frame shows, to its place in the next frame.

    Args:
        frames: two or more, of any size.
    Returns:
        float32, in pixels of `frames` per pair: along the row (to the right), along the column (down).
    Raises:
        ValueError: less than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"flow goes from a frame to the next: it takes 2 at least, got {len(frames)}")
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = np.empty((len(frames) - 1, *frames.shape[1:3], 2), np.float32)
    before = _enlarged(frames[0])
    for pair, frame in enumerate(frames[1:]):
        after = _enlarged(frame)
        flow[pair] = _reduced(estimator.calc(before, after, None), *frames.shape[1:3])
        before = after
    return flow


def speed(flow: Float[np.ndarray, "pairs h w 2"]) -> Float[np.ndarray, "pairs h w"]:
    """|u|, in pixels per pair."""
    return np.hypot(flow[..., 0], flow[..., 1])


def shrunk(frames: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f _ _ 3"]:
    """Frames of at most 288 rows: flow takes more no further, and its memory grows with the picture."""
    height, width = frames.shape[1:3]
    if height <= ROWS:
        return frames
    return np.stack([cv2.resize(frame, columns_rows(height, width), interpolation=cv2.INTER_AREA) for frame in frames])


def grey(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Its luma."""
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def _enlarged(frame: np.ndarray) -> np.ndarray:
    """Grey, of 288 rows."""
    interpolation = cv2.INTER_CUBIC if len(frame) < ROWS else cv2.INTER_AREA
    return cv2.resize(grey(frame), columns_rows(*frame.shape[:2]), interpolation=interpolation)


def _reduced(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Flow of a picture of 288 rows as that of one of another size, in its pixels."""
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    interpolation = cv2.INTER_AREA if height < ROWS else cv2.INTER_LINEAR
    return cv2.resize(flow, (width, height), interpolation=interpolation) * scale


def columns_rows(height: int, width: int) -> tuple[int, int]:
    """Columns and rows, as OpenCV wants them, of the same picture with 288 rows."""
    return max(round(width * ROWS / height), 1), ROWS
