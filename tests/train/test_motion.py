"""What the motion reward counts, and what it does not."""

import functools

import jax
import numpy as np
import pytest
from helpers_motion import compressed, drift, levels, noisy

from steady_jax.data.nature_flow.clips import KINDS
from steady_jax.data.nature_flow.clips import clip as nature
from steady_jax.train.motion import MotionReward, shrink

SQUARE, WIDE = (64, 64), (96, 160)
SIZES = pytest.mark.parametrize("size", [SQUARE, pytest.param(WIDE, marks=pytest.mark.slow)], ids=["64x64", "96x160"])
PICTURES = {"textured": {}, "soft": {"finest": 16, "contrast": 15.0}, "flat": {"contrast": 0.0}}


@functools.cache
def compiled():
    return jax.jit(MotionReward())


def reward(clip):
    return float(compiled()(clip[None])[0])


@functools.cache
def true_motion(size):
    """What the limits below are parts of: a texture that crosses a fifth of the height in a second, all over."""
    return reward(drift(0.2, height=size[0], width=size[1]))


def still(size, picture="textured", **settings):
    return np.broadcast_to(drift(0, 1, *size, **PICTURES[picture], **settings), (33, *size, 3))


@SIZES
def test_a_frozen_clip_gets_exactly_nothing(size):
    assert reward(still(size)) == 0
    assert reward(np.broadcast_to(noisy(still(size)[:1], 60), (33, *size, 3))) == 0


FLICKER = {
    "brightness": lambda x, rng: x + 15 * rng.normal(size=(33, 1, 1, 1)),
    "gain": lambda x, rng: x * (1 + 0.2 * rng.normal(size=(33, 1, 1, 1))),
    "light on and off": lambda x, rng: x * np.where(np.arange(33) % 2, 1, 0.3)[:, None, None, None],
    "colour": lambda x, rng: x * (1 + 0.2 * rng.normal(size=(33, 1, 1, 3))) + 10 * rng.normal(size=(33, 1, 1, 3)),
    "gamma": lambda x, rng: 255 * (x / 255) ** np.exp(0.3 * rng.normal(size=(33, 1, 1, 1))),
    "fade": lambda x, rng: x * np.linspace(0.2, 1.2, 33)[:, None, None, None],
}


@pytest.mark.parametrize("kind", FLICKER)
@pytest.mark.parametrize("picture", ["textured", pytest.param("soft", marks=pytest.mark.slow)])
def test_flicker_of_the_whole_picture_is_no_motion(kind, picture):
    clip = levels(FLICKER[kind](still(SQUARE, picture), np.random.default_rng(1)))
    assert reward(clip) <= 0.05 * true_motion(SQUARE)


@pytest.mark.parametrize(
    "kind",
    ["gain", *(pytest.param(name, marks=pytest.mark.slow) for name in ("brightness", "light on and off", "colour"))],
)
def test_flicker_hides_no_motion(kind):
    rng = np.random.default_rng(1)
    clip = levels(FLICKER[kind](drift(0.2, contrast=20), rng))
    assert reward(clip) == pytest.approx(reward(drift(0.2, contrast=20)), rel=0.1)


@pytest.mark.parametrize("sigma", [pytest.param(2, marks=pytest.mark.slow), 10])
@pytest.mark.parametrize("picture", PICTURES)
@SIZES
def test_noise_on_what_is_still_is_no_motion(size, picture, sigma):
    assert reward(noisy(still(size, picture), sigma)) <= 0.05 * true_motion(size)


def test_grey_noise_is_no_motion():
    noise = np.random.default_rng(0).normal(size=(33, *SQUARE, 1)) * 5
    assert reward(levels(still(SQUARE, "flat") + noise)) <= 0.05 * true_motion(SQUARE)


@pytest.mark.parametrize("picture", PICTURES)
def test_what_compression_leaves_is_no_motion(picture):
    clip = compressed(noisy(still(SQUARE, picture), 4), 20)
    assert (clip != clip[:1]).any()
    assert reward(clip) <= 0.05 * true_motion(SQUARE)


@pytest.mark.slow
@SIZES
def test_noise_hides_little_of_what_moves(size):
    assert reward(noisy(drift(0.2, 33, *size), 5)) == pytest.approx(true_motion(size), rel=0.1)


@SIZES
def test_it_rises_with_the_speed_up_to_the_cap(size):
    cap = MotionReward().cap
    speeds = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
    rewards = np.array([reward(drift(speed, 33, *size)) for speed in speeds])
    assert (np.diff(rewards) > 0).all()
    np.testing.assert_allclose(rewards, speeds / cap, rtol=0.15, atol=0.01)
    assert all(reward(drift(speed, 33, *size)) == pytest.approx(1, abs=0.05) for speed in (2 * cap, 3 * cap))


@pytest.mark.slow
def test_the_direction_matters_little():
    rewards = [reward(drift(0.2, angle=angle)) for angle in (0, np.pi / 4, np.pi / 2, 4)]
    np.testing.assert_allclose(rewards, 0.2 / MotionReward().cap, rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("background", ["textured", "flat"])
def test_it_rises_with_the_share_of_the_picture_that_moves(background):
    behind, moving = still(WIDE, background, seed=7), drift(0.2, 33, *WIDE)
    rewards = []
    for columns in (0, 40, 80, 120, 160):
        clip = behind.copy()
        clip[:, :, :columns] = moving[:, :, :columns]
        rewards.append(reward(clip))
    assert rewards[0] == 0
    assert (np.diff(rewards) > 0.1 * rewards[-1]).all()
    np.testing.assert_allclose(rewards, true_motion(WIDE) * np.linspace(0, 1, 5), atol=0.1 * true_motion(WIDE))


@pytest.mark.slow
def test_the_size_in_pixels_hardly_matters():
    rewards = [reward(drift(0.2, 33, height, height, finest=8)) for height in (64, 240)]
    np.testing.assert_allclose(rewards, rewards[0], rtol=0.05)


@pytest.mark.slow
def test_neither_the_length_nor_other_items_matter():
    one, other, third = drift(0.2, 81), noisy(drift(0.1, 81), 3), drift(0.4, 81)
    rewards = compiled()(np.stack([one, other]))
    assert rewards[0] == pytest.approx(true_motion(SQUARE), rel=0.05)
    np.testing.assert_array_equal(compiled()(np.stack([other, third]))[0], rewards[1])


@pytest.mark.parametrize(
    "kind", ["sea", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "sea")]
)
def test_nature_is_rewarded_for_moving_only(kind):
    clip = nature(7, 0, frames=33, height=96, width=160, kind=kind).pixels
    moving = reward(clip)
    assert 0.01 < moving < 0.9
    assert reward(np.broadcast_to(clip[:1], clip.shape)) == 0
    assert reward(noisy(np.broadcast_to(clip[:1], clip.shape), 3)) <= 0.05 * true_motion(WIDE)


def test_a_shrunk_picture_has_the_means_of_areas():
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 60, 3), np.uint8)
    blocks = frames.reshape(2, 48, 2, 30, 2, 3).mean((2, 4))
    np.testing.assert_allclose(shrink(frames, 48), blocks - blocks.mean((0, 1, 2)), atol=1e-3)
    frames = np.broadcast_to(np.arange(3, dtype=np.uint8)[None, :, None, None] * 60, (1, 3, 3, 3))
    np.testing.assert_allclose(
        shrink(frames, 2)[0, :, 0, 0], [-40, 40], atol=1e-3
    )  # (0 + 60/2) / 1.5, (60/2 + 120) / 1.5


def test_a_clip_of_real_size_takes_little_memory_beside_itself():
    clips = jax.ShapeDtypeStruct((2, 81, 480, 832, 3), np.uint8)
    found = jax.jit(MotionReward()).lower(clips).compile().memory_analysis()
    assert found.temp_size_in_bytes < 2 * 81 * 480 * 832 * 3


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 64, 64, 3), "5 frames or more, got 4"),
        ((1, 9, 8, 64, 3), "8x64"),
        ((1, 9, 480, 64, 3), "shrink to 48x6"),
    ],
)
def test_clips_too_small_to_judge_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        MotionReward()(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "wrong", [{"cap": 0.0}, {"cap": 2.1}, {"frames_per_second": 0.0}, {"rows": 11}, {"least": 0.8}, {"full": 1.1}]
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MotionReward(**wrong)
