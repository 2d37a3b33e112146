"""The Laplacian's variance by hand, and what contrast does to it."""

import numpy as np
import pytest
from helpers_evaluation import flat, moving_disc

from steady_jax.evaluation.sharpness import laplacian_variance, sharpness_ratio
from steady_jax.evaluation.windows import windows


def test_half_the_contrast_has_a_quarter_of_the_variance():
    sharp = moving_disc([0.0])[0].astype(float)
    half_contrast = np.round(128 + (sharp - 128) / 2)
    frames = np.stack([sharp, half_contrast]).clip(0, 255).astype(np.uint8)
    variances = laplacian_variance(frames)
    assert variances[1] / variances[0] == pytest.approx(0.25, rel=0.03)
    video = np.repeat(frames, 6, axis=0)
    assert sharpness_ratio(video, windows(11)) == pytest.approx(0.25, rel=0.03)
    assert sharpness_ratio(video[::-1], windows(11)) == pytest.approx(4, rel=0.03)
    assert sharpness_ratio(flat([9] * 12), windows(11)) is None


def test_the_laplacian_of_a_single_point():
    frame = np.zeros((1, 9, 9, 3), np.uint8)
    frame[0, 4, 4] = 100  # gives -400, and 100 at its four neighbours
    assert laplacian_variance(frame)[0] == pytest.approx((400**2 + 4 * 100**2) / 81)
