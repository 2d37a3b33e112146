"""How much of what should move still does, from flow: u is in pixels per pair of kept frames, as dense_flow gives it.

A measure that would divide by no motion, or has no region to look at, abstains: it is None.

Source: arXiv 2608.28694 for definitions and constants (of pictures with 288 rows; distances are scaled to others).
"""

import itertools

import cv2
import numpy as np

from steady_jax.evaluation.flow import ROWS, grey, speed
from steady_jax.evaluation.masks import Masks
from steady_jax.evaluation.windows import RATE, Windows
from steady_jax.shapes import Bool, Float, UInt8

NEAR = 1.5  # pixels of 288 rows: further off, a point does not follow the camera
ITERATIONS = 2000
MOST_POINTS, LEAST_POINTS = 4000, 50
MOST = 2.0  # of a ratio: motion that grows past that is no better
LEAST_CHANGE = 2.5  # levels of grey that are seen
STAGNANT = 0.5  # of the early frame difference


def energy_by_quarter(
    flow: Float[np.ndarray, "pairs h w 2"], mask: Bool[np.ndarray, "h w"]
) -> tuple[float, ...] | None:
    """Mean |u| in the mask in each quarter of the video, in pixels per pair. None below 4 pairs or in an empty mask."""
    if len(flow) < 4 or not mask.any():
        return None
    return tuple(float(part[:, mask].mean()) for part in np.array_split(speed(flow), 4))


def visible(
    flow: Float[np.ndarray, "pairs h w 2"], frames: UInt8[np.ndarray, "kept h w 3"]
) -> Float[np.ndarray, "pairs h w 2"]:
    """The flow, 0 where grey changes by less than 2.5 levels from a frame to the next, in the mean of 3x3 pixels.

    Flow finds motion in the faintest noise of flat pictures: a still sea whose pixels flicker by 2 levels has as much
    of it as a moving one, and none that is visible. Slow and pale motion (fog, clouds) loses a third to a half, and
    flicker in blotches of many pixels is still taken for motion. Ours.
    """
    greys = [grey(frame).astype(np.float32) for frame in frames]
    changes = [cv2.blur(np.abs(after - before), (3, 3)) for before, after in itertools.pairwise(greys)]
    return np.where(np.stack(changes)[..., None] < LEAST_CHANGE, 0, flow)


def background_flow(flow: Float[np.ndarray, "pairs h w 2"], static: Bool[np.ndarray, "h w"]) -> float | None:
    """BFR: mean |u| of what should stand still, in 1e-3 widths per pair."""
    return float(speed(flow)[:, static].mean() / flow.shape[2] * 1000) if static.any() else None


def background_flow_per_second(flow: Float[np.ndarray, "pairs h w 2"], static: Bool[np.ndarray, "h w"]) -> float | None:
    """NBF: the same in 1e-3 widths per second, at the 8 pairs per second of the definition."""
    found = background_flow(flow, static)
    return None if found is None else RATE * found


def foreground_flow(flow: Float[np.ndarray, "pairs h w 2"], masks: Masks) -> float | None:
    """MCFF: mean |u - camera| of what should move, in pixels per pair; give it the flow of a window."""
    if not masks.dynamic.any():
        return None
    return float(np.mean([speed((u - camera(u, masks.static))[None])[0][masks.dynamic].mean() for u in flow]))


def camera(u: Float[np.ndarray, "h w 2"], static: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 2"]:
    """The flow of a camera that shifts, turns and zooms as most of what stands still says (RANSAC).

    A similarity of 4 degrees of freedom; below 50 points, or where they agree on none, their median shift; nothing
    without points.
    """
    places = np.argwhere(static)[:, ::-1].astype(np.float32)  # columns, then rows
    if not len(places):
        return np.zeros_like(u)
    flow = u[static]
    chosen = np.linspace(0, len(places) - 1, min(len(places), MOST_POINTS)).round().astype(int)
    fitted = None
    if len(places) >= LEAST_POINTS:
        start, end = places[chosen], places[chosen] + flow[chosen]
        threshold = NEAR * u.shape[0] / ROWS
        fitted, _ = cv2.estimateAffinePartial2D(
            start, end, method=cv2.RANSAC, ransacReprojThreshold=threshold, maxIters=ITERATIONS
        )
    if fitted is None:
        return np.broadcast_to(np.median(flow, axis=0), u.shape).astype(np.float32)
    y, x = np.mgrid[: u.shape[0], : u.shape[1]].astype(np.float32)
    here = np.stack([x, y], axis=-1)
    return (here @ fitted[:, :2].T + fitted[:, 2] - here).astype(np.float32)


def kept_part(late: float | None, early: float | None) -> float | None:
    """Late over early, at most 2. Of MCFF it is FP. None where either is missing or nothing moved early."""
    return min(late / early, MOST) if late is not None and early else None


def leak(late: Float[np.ndarray, "pairs h w 2"], masks: Masks) -> float | None:
    """DLR: |u| of what should stand still over that of what should move; give it the flow of the late window."""
    if not (masks.static.any() and masks.dynamic.any()):
        return None
    speeds = speed(late)
    moving = speeds[:, masks.dynamic].mean()
    return float(speeds[:, masks.static].mean() / moving) if moving > 0 else None


def frame_differences(
    frames: UInt8[np.ndarray, "kept h w 3"], mask: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "pairs"] | None:
    """Mean absolute grey difference in the mask, of each pair, in levels."""
    if not mask.any():
        return None
    inside = (grey(frame)[mask].astype(np.float32) for frame in frames)
    return np.array([np.abs(after - before).mean() for before, after in itertools.pairwise(inside)])


def kept_difference(differences: Float[np.ndarray, "pairs"], parts: Windows) -> float | None:
    """Flow-difference persistence: the late frame difference over the early one, at most 2."""
    return kept_part(float(differences[parts.late].mean()), float(differences[parts.early].mean()))


def stagnation_onset(differences: Float[np.ndarray, "pairs"], parts: Windows) -> float | None:
    """The part of the video after which the frame difference stays below half its early mean; 1: it never does."""
    early = differences[parts.early].mean()
    if not early > 0:
        return None
    alive = np.flatnonzero(differences >= STAGNANT * early)
    return float((alive[-1] + 1) / len(differences))
