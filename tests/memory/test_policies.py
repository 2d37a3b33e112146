"""Policies against a plain list of frames, and their checks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steady_jax.memory import base
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.shapes import UNROTATED

LAYERS, BATCH, TOKENS_PER_FRAME, WIDTH = 2, 2, 3, 2
FRAME = (LAYERS, BATCH, TOKENS_PER_FRAME, WIDTH)


class ListOfFrames:
    """The rules of the memory, told once more with Python lists: one array per slot, of any shape."""

    def __init__(self, policy):
        self.policy = policy
        self.slots = [np.zeros(FRAME) for _ in range(policy.window)]
        self.filled = self.frame = self.block = 0

    def make_room(self, frames):
        if isinstance(self.policy, Steady) and self.policy.flush and self._due():
            self._flush()
        return self._evict(max(0, self.filled + frames - self.policy.window))

    def add(self, block):
        self.slots[self.filled : self.filled + len(block)] = block
        self.filled += len(block)
        self.frame += len(block)
        self.block += 1

    def _due(self):
        policy = self.policy
        return self.block > 0 and self.block % policy.flush_period == 0 and self.frame >= policy.flush_warmup

    def _flush(self):
        source = self.slots if self.policy.flush_source == "published" else self.slots[: self.filled]
        recent = source[1:][-(self.policy.flush_keep - 1) :] if self.policy.flush_keep > 1 else []
        self.slots[1 : 1 + len(recent)] = list(recent)
        self.filled = 1 + len(recent)

    def _evict(self, count):
        sink = self.policy.sink
        if count:
            leaving = self.slots[sink : sink + count]
            if isinstance(self.policy, Steady) and self.policy.ema:
                averaging = range(1 if self.policy.anchor else 0, sink)
                for slot, frame in zip(averaging, leaving, strict=False):
                    self.slots[slot] = self.policy.alpha * self.slots[slot] + (1 - self.policy.alpha) * frame
            staying = self.slots[sink + count : self.filled]
            self.slots[sink : sink + len(staying)] = staying
            self.filled -= count
        return count


@st.composite
def steady_cases(draw):
    anchor, ema = draw(st.booleans()), draw(st.booleans())
    frames, sink = draw(st.integers(1, 5)), draw(st.integers(int(anchor or ema), 4))
    keep = draw(st.integers(1, 7))
    window = draw(st.integers(max(sink, keep, 1) + frames, 16))
    policy = Steady(
        window,
        sink,
        anchor=anchor,
        ema=ema,
        alpha=draw(st.sampled_from([0.5, 0.99])),
        flush=draw(st.booleans()),
        flush_period=draw(st.integers(1, 9)),
        flush_warmup=draw(st.integers(0, 8)),
        flush_keep=keep,
        flush_source=draw(st.sampled_from(["published", "filled"])),
        query_position=draw(st.sampled_from(["published", "aligned"])),
    )
    return policy, frames


@settings(max_examples=25, deadline=None, derandomize=True)
@given(steady_cases())
@example((Steady(), 3))
@example((Steady(), 6))
@example((Steady(window=9, sink=3, anchor=False, alpha=0.5, flush_period=4, flush_keep=3), 3))
@example(  # a flush before there are as many filled slots as it keeps
    (
        Steady(window=9, sink=3, alpha=0.5, flush_period=1, flush_warmup=0, flush_keep=6, flush_source="filled"),
        3,
    )
)
def test_steady_equals_a_list_of_frames(case):
    policy, frames = case
    try:
        policy.check(frames, None)
    except ValueError:
        assert eviction_can_be_too_small(policy, frames)
        return
    for oracle, evicted, reading in side_by_side(policy, frames, blocks=24):
        assert reading.start == oracle.filled
        slots = np.arange(policy.window)
        if policy.anchor:
            np.testing.assert_array_equal(reading.read, np.where(slots == 0, UNROTATED, slots))
            is_first = oracle.frame + np.arange(frames) == 0
            np.testing.assert_array_equal(reading.stored, np.where(is_first, 0, UNROTATED))
        else:
            np.testing.assert_array_equal(reading.read, slots)
            assert reading.stored is None
        np.testing.assert_array_equal(reading.query, steady_query(policy, frames, oracle, evicted))


def eviction_can_be_too_small(policy, frames):
    """Plays blocks through the list oracle and looks at the evictions."""
    oracle = ListOfFrames(policy)
    smallest = policy.window
    for start in (0, policy.flush_keep if policy.flush else 0):
        oracle.filled = start
        while (count := oracle.filled + frames - policy.window) <= 0:
            oracle.filled += frames
        smallest = min(smallest, count)
    averaging = policy.sink - int(policy.anchor) if policy.ema else 0
    return smallest < averaging


def steady_query(policy, frames, oracle, evicted):
    if policy.query_position == "aligned":
        first = oracle.filled
    elif evicted or oracle.frame >= policy.window:
        first = policy.window - frames
    else:
        first = oracle.frame
    return first + np.arange(frames)


@pytest.mark.parametrize(
    ("policy", "frames"),
    [(SelfForcing(9, 1, rolling=True), 3), (SelfForcing(8, 0, rolling=True), 3), (SelfForcing(), 3)],
)
def test_self_forcing_equals_a_list_of_frames(policy, frames):
    for oracle, _, reading in side_by_side(policy, frames, blocks=10 if policy.rolling else 7):
        absolute = oracle.frame + np.arange(frames)
        np.testing.assert_array_equal(reading.query, absolute)
        np.testing.assert_array_equal(reading.stored, absolute)
        assert reading.read is None
        assert reading.start == oracle.filled


def side_by_side(policy, frames, blocks):
    """Runs policy and oracle, compares the whole buffers, and yields both before each block is stored."""
    shape = (LAYERS, BATCH, policy.window * TOKENS_PER_FRAME, WIDTH)
    memory, oracle = base.empty(jnp.zeros(shape), jnp.zeros(shape)), ListOfFrames(policy)
    room = jax.jit(lambda memory: policy.make_room(memory, frames))
    read = jax.jit(lambda memory, evicted: policy.read(memory, frames, evicted))
    random = np.random.default_rng(0)
    for _ in range(blocks):
        memory, evicted = room(memory)
        assert oracle.make_room(frames) == evicted
        compare(memory, oracle)
        yield oracle, int(evicted), read(memory, evicted)
        block = [random.standard_normal(FRAME) for _ in range(frames)]
        memory = stored(memory, block)
        oracle.add(block)
        compare(memory, oracle)


def stored(memory, block):
    """What the refresh call and commit do, with the block's frames as keys and their negatives as values."""
    tokens, start = np.concatenate(block, axis=2), int(memory.filled) * TOKENS_PER_FRAME
    k = memory.k.at[:, :, start : start + tokens.shape[2]].set(tokens)
    v = memory.v.at[:, :, start : start + tokens.shape[2]].set(-tokens)
    return base.commit(dataclasses.replace(memory, k=k, v=v), len(block))


def compare(memory, oracle):
    slots = np.concatenate(oracle.slots, axis=2)
    np.testing.assert_allclose(memory.k, slots, atol=1e-5)
    np.testing.assert_allclose(memory.v, -slots, atol=1e-5)
    assert (memory.filled, memory.frame, memory.block) == (oracle.filled, oracle.frame, oracle.block)


def test_ema_in_bfloat16_is_rounded_once():
    policy = Steady(window=5, sink=2, alpha=0.99, flush=False)
    k = jnp.full((1, 1, 5, 1), 1.0, jnp.bfloat16).at[0, 0, 2].set(2.0)
    memory = dataclasses.replace(base.empty(k, k), filled=jnp.int32(5))
    memory, _ = policy.make_room(memory, 1)
    assert memory.k[0, 0, 1, 0] == jnp.bfloat16(0.99 + 0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Steady(window=8, sink=3).check(6, None), "window must hold the sink and a block, got window 8"),
        (
            lambda: Steady(window=10, sink=3).check(6, None),
            "what a flush keeps and a block, got window 10 < flush_keep 6",
        ),
        (lambda: Steady(window=18, sink=3).check(1, None), "can be as small as 1"),
        (lambda: Steady(window=17, sink=3).check(3, None), "can be as small as 1"),
        (lambda: Steady(sink=0), "got sink 0"),
        (lambda: Steady(alpha=1.5), "alpha must lie in 0..1, got 1.5"),
        (lambda: Steady(flush_source="all"), "got 'all'"),
        (lambda: Steady(query_position="ahead"), "got 'ahead'"),
        (lambda: Steady(flush_period=0), "flush=False switches flushing off"),
        (lambda: SelfForcing().check(3, 8), "ends after 21 latent frames, but 24 frames were asked for"),
        (lambda: SelfForcing().check(3, None), "a video without end was asked for"),
        (lambda: SelfForcing(window=3, sink=1, rolling=True).check(3, 5), "window 3 < sink 1"),
        (lambda: SelfForcing(window=3, sink=3), "sink < window must hold, got sink 3 and window 3"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_published_settings_pass_their_checks():
    for frames in (3, 6):
        Steady().check(frames, None)
    SelfForcing().check(3, 7)
    SelfForcing(window=9, sink=1, rolling=True).check(3, None)
