"""A board of blocks that moves by known pixels."""

import numpy as np
import pytest
from helpers_evaluation import flat, half

from steady_jax.evaluation.background_drift import background_drift
from steady_jax.evaluation.masks import known_masks


def corners(shift=0):
    """A board of random blocks, moved to the right."""
    blocks = np.random.default_rng(3).integers(0, 256, (9, 12, 1), np.uint8)
    board = np.repeat(np.repeat(np.repeat(blocks, 8, 0), 8, 1), 3, 2)
    return np.roll(board, shift, axis=1)[:64, 16:80]


def test_a_background_that_wanders_by_three_pixels():
    still = known_masks(np.zeros((64, 64), bool)).static
    frames = np.stack([corners()] * 5 + [corners(3)] * 3)
    assert background_drift(frames, still, slice(4, 7)) == pytest.approx(3 / np.hypot(64, 64) * 100, rel=0.05)
    assert background_drift(frames[:5], still, slice(1, 4)) == 0


def test_what_moves_elsewhere_is_no_drift_of_the_background():
    moved = np.stack([corners()] * 5 + [corners(3)] * 3)
    moved[:, :, :32] = moved[0, :, :32]
    still = known_masks(~half(64, 64)).static
    assert background_drift(moved, still, slice(4, 7)) == 0


def test_without_corners_there_is_no_answer():
    still = known_masks(np.zeros((64, 64), bool)).static
    assert background_drift(flat([90] * 5, 64, 64), still, slice(1, 4)) is None
    gone = np.stack([corners(), *flat([90] * 3, 64, 64)])
    assert background_drift(gone, still, slice(0, 3)) is None
