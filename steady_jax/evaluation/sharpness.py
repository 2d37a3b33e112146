"""How sharp pictures are, by the variance of their Laplacian: texture that hardens has more of it, blur less."""

import cv2
import numpy as np

from steady_jax.evaluation.flow import grey
from steady_jax.evaluation.stability import late_frames
from steady_jax.evaluation.windows import Windows
from steady_jax.shapes import Float, UInt8


def laplacian_variance(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "f"]:
    """Of each frame in grey, in levels². It depends on the size of the picture: compare like with like."""
    return np.array([cv2.Laplacian(grey(frame), cv2.CV_64F).var() for frame in frames])


def sharpness_ratio(frames: UInt8[np.ndarray, "kept h w 3"], parts: Windows) -> float | None:
    """Late over early: 1 keeps sharpness, more hardens, less blurs. None where the early frames are flat."""
    early = laplacian_variance(frames[parts.early]).mean()
    return float(laplacian_variance(late_frames(frames, parts.late)).mean() / early) if early > 0 else None
