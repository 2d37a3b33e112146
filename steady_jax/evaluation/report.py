"""All measures of one video. What they mean and where they come from stands with each of them.

| name | measure | good |
|---|---|---|
| background_psnr, background_psnr_of_frames | last second against first, dB, where it moves least (40 %) | high |
| sharpness_ratio | Laplacian variance, late over early | 1 |
| fBD | displacement of background features, % of the diagonal | low |
| BFR, NBF | flow of what should stand still, 1e-3 widths per pair, per second | low |
| MCFF_early, MCFF_late | flow of what should move, in pixels of 288 rows per pair | kept |
| FP | MCFF_late / MCFF_early, at most 2 | 1 |
| energy_1 ... energy_4, energy_ratio | mean flow of what should move in each quarter, as MCFF; last over first | 1 |
| visible_1 ... visible_4, visible_ratio | the same of flow that changes the picture visibly | 1 |
| DLR | late flow of what should stand still over that of what should move | low |
| difference_kept | frame difference of what should move, late over early, at most 2 | 1 |
| stagnation_onset | part of the video after which it hardly changes | 1 |
| recurrence | how alike the two most alike seconds are | low |
| late_psnr, psnr_deviation | what should stand still against the first frame, dB, grey; its deviation | high, low |
| lab_shift, ciede2000_shift | its change of colour | low |
| flicker | 1 - its frame difference / 255 | 1 |
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from steady_jax.evaluation import motion, stability
from steady_jax.evaluation.background_drift import background_drift
from steady_jax.evaluation.flow import ROWS, dense_flow, shrunk, speed
from steady_jax.evaluation.masks import Masks, found_masks, known_masks, least_moving, shrunk_mask
from steady_jax.evaluation.recurrence import recurrence
from steady_jax.evaluation.sharpness import sharpness_ratio
from steady_jax.evaluation.windows import Windows, by_segment, kept, step, windows
from steady_jax.shapes import Bool, Float, UInt8

TRUE = "_true"  # behind names of measures whose regions were given, not found

Values = dict[str, float | None]  # by name; None: the measure abstains
Curves = dict[str, tuple[float, ...]]  # by name, over 30 equal segments; that of an empty region is missing


@dataclasses.dataclass(frozen=True)
class Measures:
    """Of one video. With a true mask, what depends on regions is there twice, see TRUE."""

    values: Mapping[str, float | None]
    curves: Mapping[str, tuple[float, ...]]
    fell_back: bool  # no threshold parted what moves from what stands still


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What is measured."""

    frames: UInt8[np.ndarray, "kept h w 3"]
    rate: float  # of `frames`, per second
    flow: Float[np.ndarray, "pairs h w 2"]
    parts: Windows


def measure(
    frames: UInt8[np.ndarray, "f height width 3"], fps: float, true_mask: Bool[np.ndarray, "rows columns"] | None = None
) -> Measures:
    """Measures a video; pictures of more than 288 rows are shrunk to 288 first.

    Args:
        frames: all of the video, at `fps` frames per second; two of them are kept at least.
        true_mask: where it moves, if that is known.
    Raises:
        ValueError: it is too short to have a pair of kept frames, or the mask is of another size.
    """
    if true_mask is not None and true_mask.shape != frames.shape[1:3]:
        raise ValueError(f"the true mask must have the size of the frames, {frames.shape[1:3]}, got {true_mask.shape}")
    pictures = shrunk(kept(frames, fps))
    flow = dense_flow(pictures)
    seen = _Seen(pictures, fps / step(fps), flow, windows(len(flow)))
    found = found_masks(flow)
    values = _everywhere(seen) | _in_regions(seen, found)
    curves = _curves(seen, found)
    if true_mask is not None:
        known = known_masks(shrunk_mask(true_mask, *pictures.shape[1:3]))
        values |= {name + TRUE: value for name, value in _in_regions(seen, known).items()}
        curves |= {name + TRUE: curve for name, curve in _curves(seen, known).items()}
    return Measures(values, curves, found.fell_back)


def _everywhere(seen: _Seen) -> Values:
    """What needs neither region."""
    quiet = least_moving(seen.flow)
    return {
        "background_psnr": stability.background_psnr(seen.frames, seen.rate, quiet),
        "background_psnr_of_frames": stability.background_psnr_of_frames(seen.frames, seen.rate, quiet),
        "sharpness_ratio": sharpness_ratio(seen.frames, seen.parts),
    }


def _in_regions(seen: _Seen, masks: Masks) -> Values:
    return _of_static(seen, masks.static) | _of_dynamic(seen, masks)


def _of_static(seen: _Seen, static: np.ndarray) -> Values:
    shift = stability.colour_shift(seen.frames, static, seen.parts)
    curve = stability.drift_curve(seen.frames, static)
    return {
        "fBD": background_drift(seen.frames, static, seen.parts.late),
        "BFR": motion.background_flow(seen.flow, static),
        "NBF": motion.background_flow_per_second(seen.flow, static),
        "late_psnr": stability.late_psnr(seen.frames, static, seen.parts.late),
        "psnr_deviation": None if curve is None else float(curve.std()),
        "lab_shift": None if shift is None else shift[0],
        "ciede2000_shift": None if shift is None else shift[1],
        "flicker": stability.flicker(seen.frames, static),
    }


def _of_dynamic(seen: _Seen, masks: Masks) -> Values:
    scale, parts = ROWS / seen.frames.shape[1], seen.parts
    early, late = (motion.foreground_flow(seen.flow[part], masks) for part in (parts.early, parts.late))
    flows = {"energy": seen.flow, "visible": motion.visible(seen.flow, seen.frames)}
    quarters = {name: motion.energy_by_quarter(flow, masks.dynamic) or (None,) * 4 for name, flow in flows.items()}
    differences = motion.frame_differences(seen.frames, masks.dynamic)
    return {
        "MCFF_early": _scaled(early, scale),
        "MCFF_late": _scaled(late, scale),
        "FP": motion.kept_part(late, early),
        **{
            f"{name}_{place}": _scaled(value, scale)
            for name, values in quarters.items()
            for place, value in enumerate(values, start=1)
        },
        **{f"{name}_ratio": values[3] / values[0] if values[0] else None for name, values in quarters.items()},
        "DLR": motion.leak(seen.flow[parts.late], masks),
        "difference_kept": None if differences is None else motion.kept_difference(differences, parts),
        "stagnation_onset": None if differences is None else motion.stagnation_onset(differences, parts),
        "recurrence": recurrence(seen.frames, seen.rate, masks.dynamic),
    }


def _curves(seen: _Seen, masks: Masks) -> Curves:
    speeds, psnr = speed(seen.flow), stability.drift_curve(seen.frames, masks.static)
    width, scale = seen.frames.shape[2], ROWS / seen.frames.shape[1]
    rows = {
        "psnr": psnr,
        "BFR": by_segment(speeds[:, masks.static].mean(1) * 1000 / width) if masks.static.any() else None,
        "energy": by_segment(speeds[:, masks.dynamic].mean(1) * scale) if masks.dynamic.any() else None,
    }
    return {name: tuple(float(value) for value in row) for name, row in rows.items() if row is not None}


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
