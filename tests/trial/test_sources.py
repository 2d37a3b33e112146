"""What a trial asks for, and the sources that need no trained weights."""

import dataclasses

import numpy as np
import pytest
from helpers_pipeline import SETTINGS, open_pipeline

from steady_jax.data import nature_flow
from steady_jax.data.sources import Source as DataSource
from steady_jax.data.sources import open_items
from steady_jax.evaluation.report import measure
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.trial import sources
from steady_jax.trial.sources import Asked, Source

SIZE = {"seed": 0, "height": 64, "width": 64}


def source(prompts, batch=2):
    return Source(make=lambda asked: None, prompts=prompts, seconds=5.0, batch=batch)


def asked(kind="sea", count=2, seconds=1.0):
    return dataclasses.replace(sources.asked_of(source(count), kind, 0), seconds=seconds)


def test_prompts_and_noise_belong_to_the_seed_the_kind_and_the_number():
    first = sources.asked_of(source(3), "fire", 0)
    assert sources.asked_of(source(2), "fire", 0).seeds == first.seeds[:2]
    seeds = {sources.noise_seed(seed, kind, number) for seed in (0, 1) for kind in ("sea", "fire") for number in (0, 1)}
    assert len(seeds) == 8
    assert sources.asked_of(source(3), "fire", 1).prompts != first.prompts
    own = sources.asked_of(source({"fire": ("fire!!!",)}), "fire", 0)
    assert (own.prompts, own.seeds) == (("fire!!!",), first.seeds[:1])


def test_clips_are_of_a_row_that_no_training_sees():
    """Prompts of training come from even rows, those of a trial from an odd one."""
    held_out = open_items(DataSource("nature_prompts", held_out=1, seed=sources.FIRST_SEED), held_out=True)
    trained = open_items(DataSource("nature_prompts", seed=sources.FIRST_SEED))
    kind = next(kind for kind in nature_flow.KINDS if asked_first(kind) == held_out[0]["prompt"])
    assert asked_first(kind) != trained[0]["prompt"]


def asked_first(kind):
    return sources.asked_of(source(1), kind, 0).prompts[0]


def test_parts_hold_every_video_once():
    whole = sources.asked_of(source(5), "fog", 0)
    parts = sources.batches(whole, 2)
    assert [len(part.prompts) for part in parts] == [2, 2, 1]
    assert sum((part.seeds for part in parts), ()) == whole.seeds
    assert sum((part.prompts for part in parts), ()) == whole.prompts


def test_procedural_clips_come_with_their_masks():
    made = sources.procedural(asked(), **SIZE)
    assert made.videos.shape == (2, 17, 64, 64, 3)
    still = (made.videos == made.videos[:, :1]).all((1, 4))
    assert still[~made.masks].all()
    assert not still[made.masks].all()


def test_a_frozen_clip_flickers_and_has_flow_but_nothing_that_is_seen_to_move():
    real = sources.procedural(asked(seconds=4), **SIZE).videos
    still = sources.frozen(asked(seconds=4), **SIZE).videos
    assert still.shape == real.shape
    difference = still.astype(int) - real[:, :1]
    assert np.abs(difference).max() == sources.FLICKER
    assert (still[:, 1] != still[:, 2]).any()
    second = sources.batches(asked(seconds=4), 1)[1]
    np.testing.assert_array_equal(sources.frozen(second, **SIZE).videos[0], still[1])  # whatever is made beside it
    for one, other in zip(real, still, strict=True):
        assert measure(other, 16).values["energy_4"] > 1
        assert measure(other, 16).values["visible_4"] < 0.01
        assert measure(one, 16).values["visible_4"] > 1


@pytest.fixture(scope="module")
def pipeline():
    return open_pipeline(batch=2)


@pytest.mark.slow
def test_a_part_smaller_than_the_batch_gives_the_same_videos(pipeline):
    both = Asked("sea", (0, 1), ("The sea.", "A river."), (5, 6), 1.0)
    alone = Asked("sea", (0,), ("The sea.",), (5,), 1.0)
    made = sources.rolled_out(both, lambda: pipeline).videos
    assert made.shape == (2, 16, 32, 48, 3)
    np.testing.assert_array_equal(sources.rolled_out(alone, lambda: pipeline).videos, made[:1])
    assert (made[0] != made[1]).any()


def test_ablation_switches_parts_off_and_keeps_the_rest():
    found = sources.ablated(SETTINGS, "dual_flush").policy
    assert found == SETTINGS.policy
    plain = sources.ablated(SETTINGS, "none").policy
    assert (plain.anchor, plain.ema, plain.flush, plain.window) == (False, False, False, SETTINGS.policy.window)
    with pytest.raises(ValueError, match="unknown row of the ablation 'nothing'"):
        sources.ablated(SETTINGS, "nothing")
    with pytest.raises(ValueError, match="one of SelfForcing; name a student of `steady`"):
        sources.ablated(dataclasses.replace(SETTINGS, policy=SelfForcing(window=9)), "none")
