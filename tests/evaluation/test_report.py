"""Whole videos: one that slows down, one that is frozen, a large one; and what many say together."""

import numpy as np
import pytest
from helpers_evaluation import disc, flat, moving_disc

from steady_jax.evaluation.report import TRUE, measure
from steady_jax.evaluation.summary import paired, summary


@pytest.fixture(scope="module")
def slowing():
    """Four seconds at 16 per second, the last two at half the speed."""
    return measure(moving_disc([0.6] * 32 + [0.3] * 31), 16, disc())


def test_half_the_speed_is_half_the_motion(slowing):
    for behind in ("", TRUE):
        assert slowing.values[f"FP{behind}"] == pytest.approx(0.5, abs=0.05)
        assert slowing.values[f"energy_ratio{behind}"] == pytest.approx(0.5, abs=0.05)
    # 1.2 pixels of 64 per pair, by 4.5; less at the rim, which still and moving pixels share
    assert slowing.values["MCFF_early"] == pytest.approx(1.2 * 4.5, rel=0.1)
    assert slowing.values["energy_1"] == pytest.approx(1.2 * 4.5, rel=0.1)
    assert slowing.values["energy_4"] == pytest.approx(0.6 * 4.5, rel=0.1)
    assert slowing.values["stagnation_onset"] == 1
    assert not slowing.fell_back


def test_a_background_that_stands_still_is_measured_as_such(slowing):
    values = slowing.values
    assert values["background_psnr"] == values["background_psnr_of_frames"] == values["late_psnr" + TRUE] == 100
    assert values["BFR" + TRUE] < 1
    assert values["NBF" + TRUE] == pytest.approx(8 * values["BFR" + TRUE])
    assert values["DLR" + TRUE] < 0.1
    assert values["flicker" + TRUE] == 1
    assert values["lab_shift" + TRUE] == values["ciede2000_shift" + TRUE] == values["psnr_deviation" + TRUE] == 0
    assert values["fBD" + TRUE] in (0, None)


def test_curves_show_when_it_slows_down(slowing):
    energy = slowing.curves["energy"]
    assert len(energy) == 30
    assert np.mean(energy[20:]) / np.mean(energy[:10]) == pytest.approx(0.5, abs=0.05)
    assert slowing.curves["psnr" + TRUE] == (100,) * 30
    assert max(slowing.curves["BFR" + TRUE]) < 1


def test_a_frozen_video_is_stable_and_has_no_motion_to_keep():
    found = measure(np.repeat(moving_disc([]), 64, axis=0), 16)
    assert found.values["background_psnr"] == found.values["late_psnr"] == 100
    assert found.values["BFR"] == found.values["fBD"] == 0
    moving = ("FP", "MCFF_early", "MCFF_late", "energy_1", "energy_ratio", "DLR", "difference_kept", "recurrence")
    assert all(found.values[name] is None for name in (*moving, "stagnation_onset"))
    assert found.fell_back
    assert set(found.curves) == {"psnr", "BFR"}


def test_motion_that_stops_is_seen_as_such():
    found = measure(moving_disc([0.5] * 32 + [0.0] * 31), 16, disc())
    assert found.values["FP" + TRUE] < 0.02
    assert found.values["energy_ratio" + TRUE] < 0.02
    assert found.values["difference_kept" + TRUE] == 0
    assert found.values["stagnation_onset" + TRUE] == pytest.approx(16 / 31)


def test_a_second_has_half_as_many_frames_when_every_other_is_kept():
    found = measure(flat([100] * 16 + [150] * 16 + [110] * 16, 32, 32), 16)
    assert found.values["background_psnr"] == pytest.approx(20 * np.log10(255 / 10))


def test_a_large_picture_and_its_mask_are_shrunk():
    found = measure(moving_disc([0.5, 0.5], 576, 576), 8, disc(576, 576))
    assert found.values["energy_1"] is None  # two pairs have no quarters
    assert found.values["MCFF_late" + TRUE] == pytest.approx(0.5 * 4.5, rel=0.1)


def test_too_short_a_video_is_refused():
    with pytest.raises(ValueError, match="from 3 frames on"):
        measure(moving_disc([1.0]), 16)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(64, 64\), got \(32, 64\)"):
        measure(moving_disc([1.0]), 8, disc()[::2])


VIDEOS = {
    "sea": [{"FP": 0.5, "fBD": None}, {"FP": 0.7, "fBD": None}],
    "fire": [{"FP": 1.0, "fBD": 2.0}, {"FP": None, "fBD": 4.0}],
    "fog": [{"FP": None, "fBD": 9.0}],
}


def test_prompts_count_alike_and_abstentions_are_counted():
    found = summary(VIDEOS)
    assert found["FP"].mean == found["FP"].median == pytest.approx((0.6 + 1.0) / 2)
    assert (found["FP"].prompts, found["FP"].abstained) == (2, 2)
    assert found["fBD"].mean == pytest.approx((3 + 9) / 2)
    assert (found["fBD"].prompts, found["fBD"].abstained) == (2, 2)
    low, high = found["FP"].interval
    assert (low, high) == pytest.approx((0.6, 1.0))  # of two prompts, one is drawn twice in half of the draws


def test_what_always_abstains_has_counts_alone():
    found = summary({"sea": [{"FP": None}]})["FP"]
    assert (found.mean, found.median, found.interval, found.prompts, found.abstained) == (None, None, None, 0, 1)


def test_models_are_compared_on_common_prompts():
    other = {"sea": [{"FP": 0.2, "fBD": 1.0}], "fire": [{"FP": 0.5, "fBD": 1.0}], "rain": [{"FP": 9.0, "fBD": 9.0}]}
    found = paired(VIDEOS, other)
    assert found["FP"].mean == pytest.approx((0.4 + 0.5) / 2)
    assert found["FP"].interval == pytest.approx((0.4, 0.5))
    assert (found["FP"].prompts, found["FP"].abstained) == (2, 0)
    assert found["fBD"].mean == 2
    assert (found["fBD"].prompts, found["fBD"].abstained) == (1, 1)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="none is common"):
        paired(VIDEOS, {"rain": [{"FP": 1.0, "fBD": 1.0}]})
    with pytest.raises(ValueError, match="not all have NBF"):
        summary({"sea": [{"FP": 1.0}, {"FP": 1.0, "NBF": 1.0}]})
    with pytest.raises(ValueError, match="not all have fBD"):
        paired({"sea": VIDEOS["sea"]}, {"sea": [{"FP": 1.0}]})
    with pytest.raises(ValueError, match="no videos"):
        summary({})
