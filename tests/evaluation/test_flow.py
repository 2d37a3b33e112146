"""Flow of a textured disc that moves before a still background, against the motion that it was drawn with."""

import numpy as np
import pytest
from helpers_evaluation import disc, moving_disc

from steady_jax.evaluation.flow import dense_flow, shrunk, speed
from steady_jax.evaluation.windows import by_segment, kept, windows


@pytest.mark.parametrize("length", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("angle", [0.0, np.pi / 2, 4.0])
def test_it_is_the_way_that_things_go_right_and_down(length, angle):
    found = dense_flow(moving_disc([length] * 2, angle=angle))
    expected = length * np.array([np.cos(angle), np.sin(angle)])
    assert found.shape == (2, 64, 64, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, disc(radius=14)].mean(1), [expected] * 2, atol=0.03)
    assert speed(found)[:, ~disc(radius=26)].mean() < 0.01


def test_it_is_counted_in_pixels_of_the_picture():
    small, large, wide = (
        dense_flow(moving_disc([1.0], height, width)) for height, width in ((64, 64), (128, 128), (64, 96))
    )
    middle = (slice(None), slice(28, 36))
    assert small[middle][:, :, 28:36, 0].mean() == pytest.approx(1, abs=0.03)
    assert large[:, 56:72, 56:72, 0].mean() == pytest.approx(2, abs=0.06)
    assert wide[middle][:, :, 44:52, 0].mean() == pytest.approx(1, abs=0.03)


def test_what_is_equal_does_not_move():
    assert not dense_flow(moving_disc([0.0, 0.0])).any()


def test_large_pictures_are_shrunk_and_small_ones_stay():
    frames = np.zeros((2, 576, 400, 3), np.uint8)
    frames[:, :, 200:] = 200
    small = shrunk(frames)
    assert small.shape == (2, 288, 200, 3)
    assert (small[:, :, :99] == 0).all()
    assert (small[:, :, 101:] == 200).all()
    assert shrunk(small) is small


def test_a_single_frame_has_no_flow():
    with pytest.raises(ValueError, match="2 at least, got 1"):
        dense_flow(moving_disc([]))


@pytest.mark.parametrize(("fps", "every"), [(4, 1), (8, 1), (11.9, 1), (16, 2), (24, 3), (30, 4)])
def test_about_eight_frames_per_second_are_kept(fps, every):
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    np.testing.assert_array_equal(kept(frames, fps)[:, 0, 0, 0], np.arange(0, 40, every))


def test_what_has_no_pair_is_refused():
    with pytest.raises(ValueError, match="from 3 frames on at 16 per second, got 2"):
        kept(np.zeros((2, 4, 4, 3), np.uint8), 16)
    with pytest.raises(ValueError, match="positive, got 0"):
        kept(np.zeros((2, 4, 4, 3), np.uint8), 0)
    with pytest.raises(ValueError, match="1 pair"):
        windows(0)


def test_windows_have_12_percent_of_the_frames():
    found = windows(99)
    assert (found.first, found.early, found.late) == (slice(0, 12), slice(12, 24), slice(87, 99))


def test_windows_of_short_videos_have_three_pairs_and_share_them():
    found = windows(5)
    assert (found.first, found.early, found.late) == (slice(0, 3), slice(0, 3), slice(2, 5))
    assert windows(2).late == slice(0, 2)


def test_segments_are_equal_parts_in_order():
    np.testing.assert_allclose(by_segment(np.repeat(np.arange(30.0), 4)), np.arange(30))
    np.testing.assert_allclose(by_segment(np.array([1.0, 3.0])), [1, 3])
