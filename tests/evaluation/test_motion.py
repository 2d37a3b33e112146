"""Motion that halves, stops, leaks, or comes from the camera, in flows and frames made by hand."""

import numpy as np
import pytest
from helpers_evaluation import flat, half, steady_flow

from steady_jax.evaluation import motion
from steady_jax.evaluation.masks import Masks
from steady_jax.evaluation.windows import windows

RIGHT = ~half()
PARTED = Masks(half(), RIGHT)
NONE = np.zeros((16, 16), bool)


def test_energy_in_each_quarter():
    flow = steady_flow([4.0, 4, 3, 3, 2, 2, 1, 1], angle=1.0) * half()[..., None]
    assert motion.energy_by_quarter(flow, half()) == pytest.approx((4, 3, 2, 1))
    assert motion.energy_by_quarter(flow, np.ones((16, 16), bool)) == pytest.approx((2, 1.5, 1, 0.5))
    assert motion.energy_by_quarter(flow[:3], half()) is None
    assert motion.energy_by_quarter(flow, NONE) is None


def test_background_flow_in_thousandths_of_the_width():
    flow = steady_flow([0.1, 0.3], width=20) * ~half(16, 20)[..., None]
    assert motion.background_flow(flow, ~half(16, 20)) == pytest.approx(10)
    assert motion.background_flow_per_second(flow, ~half(16, 20)) == pytest.approx(80)
    assert motion.background_flow(flow, half(16, 20)) == 0
    assert motion.background_flow(flow, np.zeros((16, 20), bool)) is None
    assert motion.background_flow_per_second(flow, np.zeros((16, 20), bool)) is None


def camera_flow(height, width, turn=0.01, zoom=1.02, shift=(0.5, -0.8)):
    y, x = np.mgrid[:height, :width].astype(float)
    cosine, sine = zoom * np.cos(turn), zoom * np.sin(turn)
    moved = np.stack([cosine * x - sine * y + shift[0], sine * x + cosine * y + shift[1]], axis=-1)
    return (moved - np.stack([x, y], axis=-1)).astype(np.float32)


def test_a_camera_that_turns_zooms_and_shifts_is_found_though_some_points_go_their_own_way():
    u = camera_flow(48, 64)
    static = np.random.default_rng(0).random((48, 64)) < 0.6
    lost = np.random.default_rng(1).random((48, 64)) < 0.2
    seen = np.where(lost[..., None], u + 7, u)
    np.testing.assert_allclose(motion.camera(seen, static), u, atol=1e-3)


def test_with_few_points_the_camera_only_shifts():
    u = np.zeros((16, 16, 2), np.float32)
    static = np.zeros((16, 16), bool)
    static[0, :5] = True
    u[0, :5] = [[0, 2], [1, 2], [2, 2], [9, 9], [-9, 0]]  # three of them zoom
    np.testing.assert_allclose(motion.camera(u, static), np.broadcast_to([1.0, 2.0], u.shape))
    assert not motion.camera(u, NONE).any()


def test_foreground_flow_is_without_the_camera():
    flow = steady_flow([1.0, 1.0], 32, 32, angle=np.pi / 2)  # the camera, everywhere
    flow[:, half(32, 32)] += [3, 0]
    masks = Masks(half(32, 32), ~half(32, 32))
    assert motion.foreground_flow(flow, masks) == pytest.approx(3, abs=1e-3)
    assert motion.foreground_flow(flow, Masks(np.zeros((32, 32), bool), masks.static)) is None


@pytest.mark.parametrize(
    ("late", "early", "part"), [(1.0, 2.0, 0.5), (2.0, 2.0, 1), (9.0, 2.0, 2), (1.0, 0.0, None), (None, 1.0, None)]
)
def test_what_is_kept_of_motion(late, early, part):
    assert motion.kept_part(late, early) == part


def test_leak_by_hand():
    flow = steady_flow([4.0] * 3) * half()[..., None] + steady_flow([1.0] * 3) * RIGHT[..., None]
    assert motion.leak(flow, PARTED) == pytest.approx(0.25)
    assert motion.leak(flow * RIGHT[..., None], PARTED) is None
    assert motion.leak(flow, Masks(NONE, RIGHT)) is None
    assert motion.leak(flow, Masks(half(), NONE)) is None


def test_differences_of_frames_in_the_mask():
    frames = flat([10, 14, 11, 11])
    frames[:, :, 4:] = 0
    np.testing.assert_allclose(motion.frame_differences(frames, half(8, 8)), [4, 3, 0])
    np.testing.assert_allclose(motion.frame_differences(frames, np.ones((8, 8), bool)), [2, 1.5, 0])
    assert motion.frame_differences(frames, np.zeros((8, 8), bool)) is None


def test_difference_kept():
    parts = windows(40)
    assert motion.kept_difference(np.repeat([4.0, 1.0], 20), parts) == pytest.approx(0.25)
    assert motion.kept_difference(np.repeat([0.0, 1.0], 20), parts) is None


@pytest.mark.parametrize(
    ("differences", "onset"),
    [
        ([4.0] * 24 + [1.9] * 16, 0.6),
        ([4.0] * 24 + [2.1] * 16, 1),
        ([4.0] * 10 + [0.0] * 20 + [4.0] * 10, 1),
        ([4.0] * 30 + [0.0] * 5 + [4.0] + [0.0] * 4, 0.9),
        ([0.0] * 40, None),
    ],
)
def test_stagnation_begins_where_it_does_not_end_any_more(differences, onset):
    assert motion.stagnation_onset(np.array(differences), windows(40)) == onset
