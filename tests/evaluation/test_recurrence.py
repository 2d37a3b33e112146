"""Loops of known length, and pictures that come again by chance."""

import numpy as np
import pytest
from helpers_evaluation import flat

from steady_jax.evaluation.recurrence import recurrence


def noise(frames, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, 8, 8, 1), np.uint8)
    return np.repeat(np.repeat(np.repeat(coarse, 4, 1), 4, 2), 3, 3)


WHOLE = np.ones((32, 32), bool)


def test_a_loop_recurs_and_chance_does_not():
    loop = np.tile(noise(24), (4, 1, 1, 1))
    assert recurrence(loop, 8, WHOLE) == pytest.approx(1, abs=1e-5)
    assert recurrence(noise(96), 8, WHOLE) < 0.6


def test_brightness_is_no_likeness():
    assert recurrence(noise(96) // 4 + 150, 8, WHOLE) < 0.6


def test_what_comes_again_within_two_seconds_or_for_less_than_one_is_no_loop():
    soon = noise(60)
    soon[12:20] = soon[:8]
    assert recurrence(soon, 8, WHOLE) < 0.6
    short = noise(60)
    short[40:44] = short[:4]
    assert recurrence(short, 8, WHOLE) < 0.8
    late = noise(60)
    late[40:48] = late[:8]
    assert recurrence(late, 8, WHOLE) == pytest.approx(1, abs=1e-5)


def test_only_the_box_of_the_mask_is_compared():
    frames = noise(60)
    frames[:, :16] = noise(1)[:, :16]
    upper = np.zeros((32, 32), bool)
    upper[4:12, 4:28] = True
    assert recurrence(frames, 8, upper) == pytest.approx(1, abs=1e-5)
    assert recurrence(frames, 8, ~upper) < 0.9


def test_recurrence_abstains():
    assert recurrence(noise(23), 8, WHOLE) is None
    assert recurrence(noise(24), 8, WHOLE) is not None
    assert recurrence(noise(24), 8, np.zeros((32, 32), bool)) is None
    assert recurrence(flat([3] * 24, 32, 32), 8, WHOLE) is None
