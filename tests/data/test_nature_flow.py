"""Procedural clips: still outside the mask, moving inside, endless, and truthfully named."""

import re

import numpy as np
import pytest

from steady_jax.data.nature_flow import KINDS, clip, prompt

WORDS = {
    "sea": r"\b(sea|waves?|surf|ocean)\b",
    "river": r"\b(river|stream|brook|creek)\b",
    "waterfall": r"\b(waterfall|cascade|water falls|water cascades)\b",
    "fire": r"\b(fire|campfire|bonfire|flames|blaze)\b",
    "clouds": r"\bclouds\b",
    "fog": r"\b(fog|mist|misty|foggy)\b",
    "smoke": r"\bsmoke\b",
    "rain": r"\b(rain|raining|rains|raindrops|rainstorm)\b",
    "snow": r"\b(snow falls|snowing|snowflakes|it snows|snowstorm)\b",
}


def index_of(words, kind, seed=0):
    """The first clip of a kind whose prompt holds these words."""
    return next(index for index in range(1000) if re.search(words, prompt(seed, index, kind=kind)))


def test_kinds_are_the_nine_of_the_documentation():
    assert KINDS == ("sea", "river", "waterfall", "fire", "clouds", "fog", "smoke", "rain", "snow")


@pytest.mark.parametrize("kind", KINDS)
def test_outside_the_mask_nothing_moves_and_inside_nearly_everything(kind):
    for index in range(3):
        made = clip(1, index, frames=40, kind=kind)
        assert made.kind == kind
        swing = np.ptp(made.pixels, axis=0).max(-1)
        assert (swing[~made.mask] == 0).all()
        assert (swing[made.mask] > 8).mean() > 0.75
        assert 0.2 < made.mask.mean() < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_motion_is_a_large_part_of_the_picture(kind):
    shares = []
    for index in range(4):
        pixels = clip(2, index, frames=48, height=32, width=32, kind=kind).pixels.astype(np.float32)
        shares.append(pixels.var(0).mean() / pixels.var((0, 1, 2)).mean())
    assert np.median(shares) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_give_the_same_clip_however_long(kind):
    long, short = clip(3, 4, frames=10, kind=kind), clip(3, 4, frames=3, kind=kind)
    np.testing.assert_array_equal(long.pixels[:3], short.pixels)
    np.testing.assert_array_equal(long.mask, short.mask)
    assert long.prompt == short.prompt == prompt(3, 4, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_another_index_or_seed_is_another_clip(kind):
    made = clip(5, 6, frames=1, kind=kind).pixels
    assert (made != clip(5, 7, frames=1, kind=kind).pixels).mean() > 0.3
    assert (made != clip(6, 6, frames=1, kind=kind).pixels).mean() > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_minutes_later_the_clip_is_no_repetition_and_still_alive(kind):
    made = clip(8, 1, frames=1500, height=16, width=16, kind=kind)
    moving = made.pixels[:, made.mask].astype(np.float32)
    first, later = moving[:60], moving[60:]
    distances = [np.abs(first[20] - frame).mean() for frame in later]
    assert min(distances) > 0.3 * np.median(distances)
    energy = [np.abs(np.diff(part, axis=0)).mean() for part in (first, moving[-60:])]
    assert 0.5 < energy[1] / energy[0] < 2.0


def test_the_clip_of_an_index_has_the_kind_that_was_drawn():
    for index in range(12):
        made = clip(0, index, frames=1, height=16, width=16)
        assert made.prompt == prompt(0, index)
        assert re.search(WORDS[made.kind], made.prompt.lower())


def test_kinds_come_about_evenly_and_every_prompt_names_its_kind_alone():
    counts = dict.fromkeys(KINDS, 0)
    for index in range(1800):
        named = [kind for kind in KINDS if re.search(WORDS[kind], prompt(0, index).lower())]
        assert len(named) == 1, prompt(0, index)
        counts[named[0]] += 1
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_asked_for_is_named(kind):
    assert all(re.search(WORDS[kind], prompt(2, index, kind=kind).lower()) for index in range(200))


def test_prompts_are_many_and_well_formed():
    prompts = {prompt(1, index) for index in range(3000)}
    assert len(prompts) > 2500
    for text in prompts:
        assert text[0].isupper()
        assert text.endswith(".")
        assert "{" not in text
        assert "  " not in text


@pytest.mark.parametrize("kind", KINDS)
def test_night_is_darker_than_a_grey_day(kind):
    night, grey = index_of("night|after dark", kind), index_of("grey (day|sky)", kind)
    made = [clip(0, index, frames=1, kind=kind) for index in (night, grey)]
    still = [one.pixels[0][~one.mask].mean() for one in made]
    assert still[0] < 0.6 * still[1]


def test_the_beach_has_the_colour_that_the_prompt_says():
    day = r".*(daylight|clear day|sunny|midday|sunshine|by day)"
    black, white, golden = (
        clip(0, index_of(f"(?=.*{words}){day}", "sea"), frames=1, kind="sea").pixels[0, -4:].mean((0, 1))
        for words in ("black", "white sand|white beach|pale", "golden|yellow|sandy")
    )
    assert black.max() < 80
    assert white.min() > 170
    assert golden[0] - golden[2] > 50


def test_a_headland_a_lighthouse_and_houses_change_what_stands_still():
    for kind, words in (("sea", "lighthouse"), ("sea", "cliff|headland"), ("river", "houses|village")):
        still, empty = (
            clip(0, index_of(f"(?=.*({found})).*grey (day|sky)", kind), frames=1, kind=kind).pixels[0, :20].astype(int)
            for found in (words, "horizon$|empty horizon|flat horizon|nothing")
        )
        assert np.abs(np.diff(still, axis=1)).max() > 2 * np.abs(np.diff(empty, axis=1)).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 16), (48, 80), (96, 64)])
def test_any_size_shows_the_same_scene(kind, size):
    made = clip(9, 2, frames=2, height=size[0], width=size[1], kind=kind)
    assert made.pixels.shape == (2, *size, 3)
    assert made.pixels.dtype == np.uint8
    assert made.mask.shape == size
    assert 0.15 < made.mask.mean() < 0.8


def test_rain_and_snow_are_larger_than_single_pixels():
    for kind in ("rain", "snow"):
        pixels = clip(4, index_of("night|dark", kind, seed=4), frames=30, kind=kind).pixels.astype(np.float32).mean(-1)
        coarse = pixels.reshape(30, 16, 4, 16, 4).mean((2, 4))  # what pictures of a quarter of the size would keep
        assert coarse.var(0).mean() > 0.15 * pixels.var(0).mean()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"frames": 0}, "1 frame"),
        ({"height": 8}, "16x16"),
        ({"kind": "lava"}, "one of sea, river"),
        ({"seed": -1}, "0 or more"),
        ({"index": -1}, "0 or more"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong, says):
    with pytest.raises(ValueError, match=says):
        clip(**{"seed": 0, "index": 0} | wrong)
