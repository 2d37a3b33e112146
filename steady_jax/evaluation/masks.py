"""Where a video moves and where it should stand still, found from its flow.

Sizes are those of the published benchmark, for pictures of 288 rows: masks of other pictures are cleaned at that size.

Source: arXiv 2608.28694; Otsu 1979 for the threshold.
"""

import dataclasses

import cv2
import numpy as np

from steady_jax.evaluation.flow import columns_rows, speed
from steady_jax.evaluation.windows import windows
from steady_jax.shapes import Bool, Float

LEAST_DYNAMIC = 0.03  # of the picture; a threshold that leaves less has missed what moves
FALLBACK = 0.2  # of the picture is then taken to move
BORDER = 0.04  # of rows and columns, at each side
BRUSH = np.ones((5, 5), np.uint8)


@dataclasses.dataclass(frozen=True)
class Masks:
    """The two regions; either can be empty, and what is measured in an empty region abstains."""

    dynamic: Bool[np.ndarray, "h w"]
    static: Bool[np.ndarray, "h w"]  # away from `dynamic` and from the picture's border
    fell_back: bool = False  # no threshold parted them: `dynamic` is what moves most


def found_masks(flow: Float[np.ndarray, "pairs h w 2"]) -> Masks:
    """Masks from the first window: Otsu's threshold on the mean |u|; where it leaves less than 3 %, the top 20 %.

    Where nothing moves at all, `dynamic` is empty.
    """
    mean = speed(flow[windows(len(flow)).first]).mean(0)
    if not mean.max() > 0:
        nothing = np.zeros(mean.shape, bool)
        return Masks(nothing, static_of(nothing), fell_back=True)
    large = cv2.resize(mean, columns_rows(*mean.shape), interpolation=cv2.INTER_LINEAR)
    levels = np.round(255 * np.maximum(large, 0) / large.max()).astype(np.uint8)
    dynamic = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
    if fell_back := bool(dynamic.mean() < LEAST_DYNAMIC):
        dynamic = (large > np.quantile(large, 1 - FALLBACK)).astype(np.uint8)
    for clean in (cv2.MORPH_OPEN, cv2.MORPH_CLOSE):
        dynamic = cv2.morphologyEx(dynamic, clean, BRUSH)
    moving = _covered(dynamic, *mean.shape) >= 0.5
    return Masks(moving, static_of(moving), fell_back)


def known_masks(dynamic: Bool[np.ndarray, "h w"]) -> Masks:
    """Masks where the moving region is known."""
    return Masks(dynamic, static_of(dynamic))


def static_of(dynamic: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """What is left beside the moving region: less a border of 4 % at each side and, of 288 rows, two around it."""
    still = cv2.resize((~dynamic).astype(np.uint8), columns_rows(*dynamic.shape), interpolation=cv2.INTER_NEAREST)
    down, right = (round(BORDER * size) for size in still.shape)
    inside = np.zeros_like(still)
    inside[down : len(still) - down, right : still.shape[1] - right] = 1
    return _covered(cv2.erode(still * inside, BRUSH), *dynamic.shape) > 0.999  # a pixel is still where all of it is


def least_moving(flow: Float[np.ndarray, "pairs h w 2"], share: float = 0.4) -> Bool[np.ndarray, "h w"]:
    """The share of the pixels that move least, by mean |u| over the whole video. Of equal ones, the upper left."""
    if not 0 < share <= 1:
        raise ValueError(f"a share of the pixels lies in 0..1, above 0, got {share}")
    mean = speed(flow).mean(0)
    order = np.argsort(mean, axis=None, kind="stable")
    mask = np.zeros(mean.size, bool)
    mask[order[: max(round(share * mean.size), 1)]] = True
    return mask.reshape(mean.shape)


def shrunk_mask(mask: Bool[np.ndarray, "_ _"], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The mask of a picture as that of a smaller one: where half or more of a pixel is in it."""
    return _covered(mask.astype(np.uint8), height, width) >= 0.5


def _covered(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part of each pixel of another size that a mask covers."""
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
