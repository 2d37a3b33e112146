"""Regions from flow: a disc that moves is found, and what stands still lies apart from it."""

import numpy as np
import pytest
from helpers_evaluation import disc, half, moving_disc, steady_flow

from steady_jax.evaluation.flow import dense_flow
from steady_jax.evaluation.masks import found_masks, known_masks, least_moving, shrunk_mask, static_of


def test_a_moving_disc_is_found():
    found = found_masks(dense_flow(moving_disc([1.0] * 4)))
    both, either = (operation(found.dynamic, disc()) for operation in (np.logical_and, np.logical_or))
    assert both.sum() / either.sum() > 0.8
    assert not found.fell_back
    assert not (found.static & disc(radius=19)).any()
    assert found.static.mean() > 0.4


def test_only_the_first_window_counts():
    early = np.concatenate([steady_flow([1.0] * 3), steady_flow([0.0] * 20)]) * half()[..., None]
    late = np.concatenate([steady_flow([0.0] * 3), steady_flow([9.0] * 20)]) * ~half()[..., None]
    np.testing.assert_array_equal(found_masks(early + late).dynamic, half())


def test_where_one_spot_outshines_all_the_fastest_fifth_is_taken():
    flow = steady_flow(np.ones(4), 60, 60) * np.linspace(0, 0.1, 60, dtype=np.float32)[:, None, None]
    flow[:, 5:8, 5:8] = 5
    found = found_masks(flow)
    assert found.fell_back
    assert found.dynamic[-11:].all()  # the slope's lower fifth, less what the spot takes
    assert not found.dynamic[10:47].any()


def test_where_nothing_moves_all_may_stand_still():
    found = found_masks(steady_flow([0.0] * 4, 100, 100))
    assert found.fell_back
    assert not found.dynamic.any()
    assert found.static[6:-6, 6:-6].all()


def test_what_stands_still_keeps_from_the_border_and_from_what_moves():
    moves = np.zeros((288, 288), bool)
    moves[100:150, 100:200] = True
    expected = np.zeros((288, 288), bool)
    expected[14:-14, 14:-14] = True  # 12 rows are 4 %, and 2 more go with a 5x5 brush
    expected[98:152, 98:202] = False
    np.testing.assert_array_equal(static_of(moves), expected)
    np.testing.assert_array_equal(known_masks(moves).static, expected)
    np.testing.assert_array_equal(known_masks(moves).dynamic, moves)


def test_of_a_picture_with_fewer_rows_whole_pixels_are_left_out():
    moves = np.zeros((72, 72), bool)
    moves[30:40, 30:40] = True
    expected = np.zeros((72, 72), bool)
    expected[4:-4, 4:-4] = True  # a pixel is 4 rows: 3 are border, and a part of the next goes too
    expected[29:41, 29:41] = False
    np.testing.assert_array_equal(static_of(moves), expected)


def test_the_least_moving_share():
    speeds = np.arange(10, dtype=np.float32)[::-1]
    flow = steady_flow([1.0, 3.0], 6, 10) * speeds[:, None]
    np.testing.assert_array_equal(least_moving(flow), np.broadcast_to(np.arange(10) >= 6, (6, 10)))
    np.testing.assert_array_equal(least_moving(flow, 0.2), np.broadcast_to(np.arange(10) >= 8, (6, 10)))
    assert least_moving(np.zeros_like(flow)).sum() == 24
    with pytest.raises(ValueError, match="above 0, got 0"):
        least_moving(flow, 0)


def test_a_smaller_mask_has_the_pixels_that_are_half_in():
    mask = np.zeros((6, 6), bool)
    mask[:3, :4] = True
    expected = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    np.testing.assert_array_equal(shrunk_mask(mask, 3, 3), expected)
