"""How well what should stand still does, pixel by pixel: against the beginning of the video, and from frame to frame.

A measure whose mask is empty, or whose video is too short, abstains: it is None. A frozen video is perfect here; motion
is measured beside it (motion.py).
"""

import itertools

import numpy as np

from steady_jax.evaluation.colour import ciede2000, lab
from steady_jax.evaluation.flow import grey
from steady_jax.evaluation.windows import Windows, by_segment
from steady_jax.shapes import Bool, Float, UInt8

EQUAL = 100.0  # dB, for pictures that are equal and those that are nearly: means stay finite, and files stay JSON


def psnr(
    a: UInt8[np.ndarray, "h w *c"] | Float[np.ndarray, "h w *c"],
    b: UInt8[np.ndarray, "h w *c"] | Float[np.ndarray, "h w *c"],
    mask: Bool[np.ndarray, "h w"],
) -> float | None:
    """10 log10(255² / mean square difference over the masked pixels and all channels) of two pictures, in dB.

    Args:
        a: levels, 0..255, whole or not. b: likewise.
    Returns:
        At most 100; None where the mask is empty.
    """
    if not mask.any():
        return None
    error = np.mean(np.square(a[mask].astype(np.float64) - b[mask]))
    return EQUAL if error == 0 else min(EQUAL, float(10 * np.log10(255**2 / error)))


def background_psnr(frames: UInt8[np.ndarray, "f h w 3"], fps: float, mask: Bool[np.ndarray, "h w"]) -> float | None:
    """PSNR of the mean picture of the last second against that of the first.

    Means, because drift is asked for: noise and what still flickers in the mask would hide it, and go away in the mean.
    None for less than two seconds.
    """
    second = round(fps)
    if second < 1 or len(frames) < 2 * second:
        return None
    first, last = (part.mean(0, dtype=np.float64) for part in (frames[:second], frames[-second:]))
    return psnr(first, last, mask)


def background_psnr_of_frames(
    frames: UInt8[np.ndarray, "f h w 3"], fps: float, mask: Bool[np.ndarray, "h w"]
) -> float | None:
    """The median over the frames of the last second, of each one's PSNR against the first frame: noise counts twice."""
    second = round(fps)
    if not mask.any() or second < 1 or len(frames) < 2 * second:
        return None
    return float(np.median([psnr(frames[0], frame, mask) for frame in frames[-second:]]))


def psnr_to_first(frames: UInt8[np.ndarray, "f h w 3"], mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "f"] | None:
    """PSNR of every frame against the first, in grey; the first one's is 100."""
    if not mask.any():
        return None
    first = grey(frames[0])
    return np.array([psnr(first, grey(frame), mask) for frame in frames])


def late_psnr(frames: UInt8[np.ndarray, "kept h w 3"], static: Bool[np.ndarray, "h w"], late: slice) -> float | None:
    """The mean of that over the late frames."""
    if not static.any():
        return None
    first = grey(frames[0])
    return float(np.mean([psnr(first, grey(frame), static) for frame in late_frames(frames, late)]))


def drift_curve(
    frames: UInt8[np.ndarray, "kept h w 3"], static: Bool[np.ndarray, "h w"], segments: int = 30
) -> Float[np.ndarray, "segments"] | None:
    """The mean PSNR, in grey, of each of 30 equal segments against the first frame. Its deviation says how even it is.

    The first frame itself, which has no difference to show, is left out.
    """
    values = psnr_to_first(frames, static)
    return None if values is None or len(values) < 2 else by_segment(values[1:], segments)


def colour_shift(
    frames: UInt8[np.ndarray, "kept h w 3"], static: Bool[np.ndarray, "h w"], parts: Windows
) -> tuple[float, float] | None:
    """How much the colour of what stands still changes from the early to the late window.

    Returns:
        The distance of the mean Lab colours, and the mean CIEDE2000 of the windows' mean pictures, pixel by pixel.
    """
    if not static.any():
        return None
    early, late = (
        lab(part.mean(0, dtype=np.float64))[static] for part in (frames[parts.early], late_frames(frames, parts.late))
    )
    return float(np.linalg.norm(early.mean(0) - late.mean(0))), float(ciede2000(early, late).mean())


def flicker(frames: UInt8[np.ndarray, "kept h w 3"], static: Bool[np.ndarray, "h w"]) -> float | None:
    """(255 - mean absolute difference of successive frames) / 255: 1 is none."""
    if not static.any():
        return None
    still = (frame[static].astype(np.int16) for frame in frames)  # one by one: all of them take much memory
    differences = [np.abs(after - before).mean() for before, after in itertools.pairwise(still)]
    return float(1 - np.mean(differences) / 255)


def late_frames(frames: UInt8[np.ndarray, "f h w 3"], late: slice) -> UInt8[np.ndarray, "_ h w 3"]:
    """As many frames as the late window has pairs, up to the last one."""
    return frames[late.start + 1 : late.stop + 1]
