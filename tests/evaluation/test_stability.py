"""Fading, flickering and colour against values by hand."""

import numpy as np
import pytest
from helpers_evaluation import flat, half

from steady_jax.evaluation.colour import ciede2000, lab
from steady_jax.evaluation.stability import (
    background_psnr,
    background_psnr_of_frames,
    colour_shift,
    drift_curve,
    flicker,
    late_psnr,
    psnr,
)
from steady_jax.evaluation.windows import windows

ALL, NONE = np.ones((8, 8), bool), np.zeros((8, 8), bool)


def decibels(difference):
    """PSNR of pictures that differ by so many levels everywhere."""
    return 20 * np.log10(255 / difference)


def test_psnr_by_hand():
    a, b = flat([100, 110])
    assert psnr(a, b, ALL) == pytest.approx(decibels(10))
    assert psnr(b, a, ALL) == pytest.approx(decibels(10))  # bytes do not wrap
    b[:, 4:] = 100
    assert psnr(a, b, half(8, 8)) == pytest.approx(decibels(10))
    assert psnr(a, b, ALL) == pytest.approx(decibels(10 / np.sqrt(2)))
    assert psnr(a, b, ~half(8, 8)) == 100
    assert psnr(a, b, NONE) is None
    assert psnr(a.astype(float), a + 1e-9, ALL) == 100


def test_a_background_that_fades_by_ten_levels():
    frames = flat([100] * 16 + [104] * 30 + [110] * 16)
    assert background_psnr(frames, 16, ALL) == pytest.approx(decibels(10))
    assert background_psnr_of_frames(frames, 16, ALL) == pytest.approx(decibels(10))


def test_noise_hides_no_stability_in_the_means_of_seconds():
    frames = flat([105, 95] * 32)
    assert background_psnr(frames, 16, ALL) == 100
    assert background_psnr(frames[1:], 16, ALL) == 100  # the seconds begin with 95 and 105
    assert background_psnr_of_frames(frames[:-1], 15, ALL) == 100  # 105 in most frames
    assert background_psnr_of_frames(frames, 15, ALL) == pytest.approx(decibels(10))


def test_psnr_in_a_mask_does_not_see_the_rest():
    frames = flat([100] * 64)
    frames[40:, :, 4:] = 200
    assert background_psnr(frames, 16, half(8, 8)) == 100
    assert background_psnr(frames, 16, ~half(8, 8)) == pytest.approx(decibels(100))


def test_short_videos_and_empty_masks_abstain():
    frames = flat([100] * 31)
    assert background_psnr(frames, 16, ALL) is None
    assert background_psnr_of_frames(frames, 16, ALL) is None
    frames = flat([100] * 32)
    for measure in (background_psnr, background_psnr_of_frames):
        assert measure(frames, 16, ALL) == 100
        assert measure(frames, 16, NONE) is None
    assert late_psnr(frames, NONE, slice(20, 31)) is None
    assert drift_curve(frames, NONE) is None
    assert colour_shift(frames, NONE, windows(31)) is None
    assert flicker(frames, NONE) is None


def test_late_frames_are_compared_with_the_first():
    frames = flat([100] * 7 + [105, 105, 110])
    expected = (2 * decibels(5) + decibels(10)) / 3
    assert late_psnr(frames, ALL, slice(6, 9)) == pytest.approx(expected)


def test_the_curve_shows_when_it_drifts():
    frames = flat([100] * 61 + [120] * 60)
    np.testing.assert_allclose(drift_curve(frames, ALL), [100] * 15 + [decibels(20)] * 15)


def test_the_first_frame_is_no_part_of_the_curve():
    np.testing.assert_allclose(drift_curve(flat([100] + [105] * 60), ALL), [decibels(5)] * 30)


def test_from_black_to_white_is_a_hundred():
    frames = flat([0] * 6 + [255] * 6)
    shift = colour_shift(frames, ALL, windows(11))
    assert shift == pytest.approx((100, 100), abs=0.01)
    assert colour_shift(flat([80] * 12), ALL, windows(11)) == (0, 0)


def test_colours_that_trade_places_keep_their_mean_and_not_their_pixels():
    frames = flat([0] * 12)
    frames[:6, :, :4] = frames[6:, :, 4:] = 255
    mean, pixels = colour_shift(frames, ALL, windows(11))
    assert mean == pytest.approx(0, abs=0.01)
    assert pixels == pytest.approx(100, abs=0.01)


def test_lab_of_red():
    found = lab(np.array([[[255.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(found[0, 0], [53.24, 80.09, 67.20], atol=0.05)


@pytest.mark.parametrize(  # from Sharma, Wu and Dalal 2005, table 1
    ("one", "other", "distance"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_of_the_published_pairs(one, other, distance):
    there, back = np.array([one, other], float), np.array([other, one], float)
    np.testing.assert_allclose(ciede2000(there, back), distance, atol=1e-4)


def test_flicker_by_hand():
    assert flicker(flat([100, 105] * 5), ALL) == pytest.approx(1 - 5 / 255)
    assert flicker(flat([100] * 5), ALL) == 1
    frames = flat([100, 255] * 5)
    frames[:, :, :4] = 100
    assert flicker(frames, half(8, 8)) == 1
