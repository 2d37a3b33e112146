"""Policies against a plain list of frames, by hand, and their checks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_memory import ListOfFrames, Scene, averaging
from hypothesis import given, settings
from hypothesis import strategies as st

from steady_jax.config import ABLATION, POLICIES
from steady_jax.memory import base
from steady_jax.memory.base import same_scene
from steady_jax.memory.ema_sink import EMASink
from steady_jax.memory.infinity_rope import InfinityRope
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.memory.v_sink import VSink
from steady_jax.shapes import UNROTATED

LAYERS, BATCH, TOKENS_PER_FRAME, WIDTH = 2, 2, 3, 2
FRAME = (LAYERS, BATCH, TOKENS_PER_FRAME, WIDTH)

# a window that flushes often; the flush reads slots that it writes
SHORT = Steady(window=9, alpha=0.5, flush_period=3, flush_warmup=0)
CUT = Scene(cut=True)

# policy, frames of a block, scenes by the block that begins them, blocks
CASES = {
    "self_forcing": (SelfForcing(), 3, {2: Scene()}, 7),
    "self_forcing, rolling": (SelfForcing(9, 1, rolling=True), 3, {4: Scene(flush=False)}, 10),
    "self_forcing, no multiple": (SelfForcing(8, 0, rolling=True), 3, {}, 10),
    "v_sink": (VSink(), 3, {4: Scene()}, 8),
    "v_sink, no multiple": (VSink(11, 2), 4, {1: Scene(flush=False)}, 8),
    "v_sink, no sink": (VSink(6, 0), 3, {}, 6),
    "infinity_rope": (InfinityRope(), 3, {}, 8),
    "infinity_rope, scenes": (InfinityRope(), 3, {3: Scene(), 5: CUT, 7: Scene(flush=False)}, 9),
    "infinity_rope, no multiple": (InfinityRope(11, 2), 4, {4: Scene(), 6: CUT}, 9),
    "infinity_rope, scene in the warm-up": (InfinityRope(12), 3, {2: Scene(), 3: CUT}, 9),
    "infinity_rope, few frames": (InfinityRope(), 1, {2: Scene(), 5: Scene()}, 8),
    "infinity_rope, few frames, filled": (InfinityRope(flush_source="filled"), 1, {2: Scene(), 5: Scene()}, 8),
    "infinity_rope, flush asked for": (InfinityRope(scene_flush=False), 3, {2: Scene(), 4: Scene(flush=True)}, 8),
    "ema_sink": (EMASink(alpha=0.5), 3, {5: Scene(flush=False)}, 9),
    "steady": (Steady(), 3, {}, 45),  # two periodic flushes
    "steady, 6 frames": (Steady(), 6, {}, 44),
    "steady, aligned and filled": (Steady(query_position="aligned", flush_source="filled"), 3, {25: CUT}, 45),
    "steady, 6 frames, cut": (Steady(), 6, {4: CUT, 5: Scene(), 6: CUT}, 8),
    "steady, 6 frames, cut, aligned": (Steady(query_position="aligned"), 6, {4: CUT, 6: CUT}, 8),
    "steady, cut without flush": (Steady(), 3, {3: Scene(flush=False, cut=True), 9: Scene(False, True)}, 11),
    "steady, scene before 6 frames": (Steady(), 3, {1: Scene(), 3: Scene()}, 9),
    "steady, scene before 6 frames, filled": (Steady(flush_source="filled"), 3, {1: Scene(), 3: Scene()}, 9),
    "steady, scene in the warm-up": (Steady(), 3, {3: CUT}, 9),
    "steady, no multiple": (Steady(window=17, sink=2, alpha=0.5), 3, {3: Scene(), 8: CUT}, 24),
    "steady, no multiple, aligned": (Steady(window=17, sink=2, query_position="aligned"), 3, {3: Scene()}, 24),
    "steady, no flush before the warm-up is over": (
        dataclasses.replace(SHORT, flush_period=2, flush_warmup=12),
        3,
        {},
        9,
    ),
    "steady, scene where the period flushes": (SHORT, 3, {6: Scene(), 9: CUT}, 12),
    "steady, scene that leaves the flush to the period": (SHORT, 3, {4: Scene(flush=False), 6: Scene(False)}, 8),
    "steady, the first block begins a scene": (SHORT, 3, {0: CUT}, 4),
    "steady, all slots average": (
        dataclasses.replace(SHORT, anchor=False, flush_period=4, flush_keep=3),
        3,
        {5: CUT},
        9,
    ),
    "steady, nothing on": (Steady(window=9, **ABLATION["none"]), 3, {5: CUT}, 9),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_policy_equals_a_list_of_frames(case):
    policy, frames, scenes, blocks = case
    policy.check(frames, blocks)
    side_by_side(policy, frames, scenes, blocks)


@st.composite
def drawn_cases(draw):
    """A policy that can purge, with settings that its constructor takes, and scenes at any block."""
    frames, keep = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    shared = {
        "scene_flush": draw(st.booleans()),
        "flush_keep": keep,
        "flush_source": draw(st.sampled_from(["published", "filled"])),
        "query_position": draw(st.sampled_from(["published", "aligned"])),
        "cut_position": draw(st.sampled_from([16, 45])),
    }
    if draw(st.integers(0, 3)) == 0:
        sink = draw(st.integers(1, 4))
        policy = InfinityRope(draw(st.integers(max(sink, keep) + frames, 16)), sink, **shared)
    else:
        anchor, ema = draw(st.booleans()), draw(st.booleans())
        sink = draw(st.integers(int(anchor or ema), 4))
        policy = Steady(
            draw(st.integers(max(sink, keep) + frames, 16)),
            sink,
            anchor=anchor,
            ema=ema,
            alpha=draw(st.sampled_from([0.5, 0.99])),
            flush=draw(st.booleans()),
            flush_period=draw(st.integers(1, 9)),
            flush_warmup=draw(st.integers(0, 8)),
            **shared,
        )
    scene = st.builds(Scene, st.sampled_from([None, True, False]), st.booleans())
    return policy, frames, draw(st.dictionaries(st.integers(0, 19), scene, max_size=5))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(drawn_cases())
def test_drawn_settings_and_scenes_equal_a_list_of_frames(case):
    policy, frames, scenes = case
    try:
        policy.check(frames, None)
        changes_of(policy, frames, scenes)
    except ValueError:
        assert smallest_eviction(policy, frames, scenes) < len(averaging(policy))
        return
    assert smallest_eviction(policy, frames, scenes) >= len(averaging(policy))
    side_by_side(policy, frames, scenes, blocks=20)


def smallest_eviction(policy, frames, scenes):
    """Plays blocks through the list after a start and after a flush, and looks at the first eviction."""
    periodic = isinstance(policy, Steady) and policy.flush
    flushes = policy.scene_flush or periodic or any(scene.flush for scene in scenes.values())
    counts = []
    for filled in (0, policy.flush_keep) if flushes else (0,):
        while filled + frames <= policy.window:
            filled += frames
        counts.append(filled + frames - policy.window)
    return min(counts)


def changes_of(policy, frames, scenes):
    return {block: policy.begin_scene(frames, *scene) for block, scene in scenes.items()}


def side_by_side(policy, frames, scenes, blocks):
    """Runs policy and list, and compares the whole buffers and all positions, block by block."""
    memory, listed = empty_memory(policy), ListOfFrames(policy, np.zeros(FRAME))
    changes, random = changes_of(policy, frames, scenes), np.random.default_rng(0)
    open_block = opener(policy, frames)
    for index in range(blocks):
        scene = scenes.get(index)
        memory, evicted, reading = open_block(memory, changes.get(index, same_scene()))
        assert listed.make_room(frames, scene) == evicted
        compare(memory, listed)
        assert positions(reading, listed.filled + frames) == listed.read(frames, evicted, scene)
        block = [random.standard_normal(FRAME) for _ in range(frames)]
        memory = stored(memory, block)
        listed.add(block)
        compare(memory, listed)


def opener(policy, frames):
    """One program for all blocks of a policy."""

    @jax.jit
    def open_block(memory, change):
        memory, evicted = policy.make_room(memory, frames, change)
        return memory, evicted, policy.read(memory, frames, evicted, change)

    return open_block


def empty_memory(policy):
    shape = (LAYERS, BATCH, policy.window * TOKENS_PER_FRAME, WIDTH)
    return base.empty(jnp.zeros(shape), jnp.zeros(shape))


def stored(memory, block):
    """What the refresh call and commit do, with the block's frames as keys and their negatives as values."""
    tokens, start = np.concatenate(block, axis=2), int(memory.filled) * TOKENS_PER_FRAME
    k = memory.k.at[:, :, start : start + tokens.shape[2]].set(tokens)
    v = memory.v.at[:, :, start : start + tokens.shape[2]].set(-tokens)
    return base.commit(dataclasses.replace(memory, k=k, v=v), len(block))


def compare(memory, listed):
    slots = np.concatenate(listed.slots, axis=2)
    np.testing.assert_allclose(memory.k, slots, atol=1e-5)
    np.testing.assert_allclose(memory.v, -slots, atol=1e-5)
    assert (memory.filled, memory.frame, memory.block) == (listed.filled, listed.frame, listed.block)


def positions(reading, slots):
    """A reading of the first slots in plain numbers, None spelt out."""
    frames = len(reading.query)
    spelt = [np.full(slots, UNROTATED) if part is None else part for part in (reading.stored, reading.read)]
    return int(reading.start), reading.query.tolist(), spelt[0].tolist()[:frames], spelt[1].tolist()[:slots]


@pytest.mark.parametrize(
    ("policy", "frames", "flushed_at", "left"),
    [
        (InfinityRope(), 3, [3], [1, 8, 9]),  # of 1 5 6 7 8 9
        (Steady(ema=False), 3, [6], [1, 14, 15, 16, 17, 18]),
        (Steady(ema=False), 6, [4], [1, 20, 21, 22, 23, 24]),
        (Steady(ema=False), 3, [1], [1, 0, 0, 0, 0, 0]),  # the end of the buffer, where nothing was written
        (Steady(ema=False, flush_source="filled"), 3, [1], [1, 2, 3]),
        (InfinityRope(), 1, [2], [1, 0, 0]),
        (InfinityRope(flush_source="filled"), 1, [2], [1, 2]),
        (InfinityRope(window=9), 3, [3, 4], [1, 8, 9]),  # of 1 8 9 10 11 12 and, stale, 7 8 9
        (InfinityRope(window=9, flush_source="filled"), 3, [3, 4], [1, 11, 12]),
        (InfinityRope(flush_keep=1), 3, [3], [1]),
        # the period and a scene both ask for it; done twice, it would leave 1 8 9 7 8 9
        (dataclasses.replace(SHORT, ema=False), 3, [3], [1, 5, 6, 7, 8, 9]),
    ],
)
def test_what_a_flush_leaves(policy, frames, flushed_at, left):
    """Frames are numbers from 1 on; 0 was never written."""
    memory, open_block = empty_memory(policy), opener(policy, frames)
    for index in range(flushed_at[-1] + 1):
        change = policy.begin_scene(frames, True, False) if index in flushed_at else same_scene()
        memory, evicted, _ = open_block(memory, change)
        if index < flushed_at[-1]:
            memory = stored(memory, [np.full(FRAME, memory.frame + i + 1.0) for i in range(frames)])
    assert evicted == 0
    assert memory.k[0, 0, ::TOKENS_PER_FRAME, 0].tolist()[: int(memory.filled)] == left


@pytest.mark.parametrize(
    ("policy", "frames", "flush", "filled", "keys", "query"),
    [
        (InfinityRope(), 3, None, 6, [UNROTATED, 1, 2, 45, 46, 47], [45, 46, 47]),
        (Steady(), 6, None, 18, [UNROTATED, *range(1, 6), *range(45, 51)], [*range(45, 51)]),
        (Steady(), 3, False, 6, [UNROTATED, *range(1, 6), 45, 46, 47], [45, 46, 47]),
        (Steady(anchor=False, cut_position=30), 3, None, 18, [*range(6), 30, 31, 32], [30, 31, 32]),
    ],
)
def test_a_cut_moves_a_block_for_its_own_calls_alone(policy, frames, flush, filled, keys, query):
    memory = dataclasses.replace(empty_memory(policy), filled=jnp.int32(filled), frame=jnp.int32(99))
    open_block = opener(policy, frames)
    memory, _, reading = open_block(memory, policy.begin_scene(frames, flush, True))
    assert positions(reading, len(keys))[1:] == (query, [UNROTATED] * frames, keys)
    memory, _, reading = open_block(base.commit(memory, frames), same_scene())
    assert reading.query.tolist() == [*range(policy.window - frames, policy.window)]
    assert reading.read.tolist()[1:] == [*range(1, policy.window)]


def test_after_a_flush_the_query_stands_ahead_until_the_window_is_full():
    for policy, frames, ahead in ((Steady(), 3, [9, 6, 3, 0, 0]), (Steady(), 6, [6, 0, 0])):
        memory = dataclasses.replace(empty_memory(policy), filled=jnp.int32(18), frame=jnp.int32(99))
        open_block, change, found = opener(policy, frames), policy.begin_scene(frames, None, False), []
        for _ in ahead:
            memory, _, reading = open_block(memory, change)
            change = same_scene()
            found.append(int(reading.query[0] - reading.start))
            memory = base.commit(memory, frames)
        assert found == ahead


def test_ema_in_bfloat16_is_rounded_once():
    policy = Steady(window=5, sink=2, alpha=0.99, flush=False)
    k = jnp.full((1, 1, 5, 1), 1.0, jnp.bfloat16).at[0, 0, 2].set(2.0)
    memory = dataclasses.replace(base.empty(k, k), filled=jnp.int32(5))
    memory, _ = policy.make_room(memory, 1, same_scene())
    assert memory.k[0, 0, 1, 0] == jnp.bfloat16(0.99 + 0.02)


REFUSED = [
    (lambda: Steady(window=8).check(6, None), "window must hold the sink and a block, got window 8"),
    (lambda: VSink().check(6, None), "window 6 < sink 1 \\+ block 6 frames"),
    (lambda: InfinityRope().check(6, None), "window 6 < sink 1 \\+ block 6 frames"),
    (lambda: EMASink(window=5).check(3, None), "window 5 < sink 3 \\+ block 3 frames"),
    (lambda: SelfForcing(window=3, sink=1, rolling=True).check(3, 5), "window 3 < sink 1"),
    # a window that cannot hold what a flush keeps
    (lambda: Steady(window=10).check(6, None), "what a flush keeps and a block, got window 10 < flush_keep 6 \\+ 6"),
    (lambda: Steady(window=10, flush=False).check(6, None), "window 10 < flush_keep 6"),
    (lambda: Steady(window=10, scene_flush=False).check(6, None), "window 10 < flush_keep 6"),
    (lambda: Steady(window=10, scene_flush=False).begin_scene(6, True, False), "window 10 < flush_keep 6"),
    (lambda: InfinityRope(window=5).check(3, None), "window 5 < flush_keep 3 \\+ 3 .*memory.scene_flush"),
    (lambda: InfinityRope(window=5, scene_flush=False).begin_scene(3, True, True), "window 5 < flush_keep 3"),
    # evictions that do not fit the averaging slots
    (lambda: Steady().check(1, None), "each of 2 averaging slots .* can be as small as 1"),
    (lambda: Steady(window=17).check(3, None), "can be as small as 1"),
    (lambda: Steady(flush_keep=4, flush=False).check(3, None), "can be as small as 1"),
    (lambda: Steady(flush_keep=4, scene_flush=False).check(3, None), "can be as small as 1"),
    (lambda: Steady(flush_keep=4, scene_flush=False).begin_scene(3, True, False), "can be as small as 1"),
    (lambda: EMASink().check(6, None), "the first eviction holds 3 and the later ones 6, got sink 3; let memory.sink"),
    (lambda: EMASink(window=11).check(4, None), "holds 1 and the later ones 4, got sink 3"),
    (lambda: EMASink(window=10).check(3, None), "window 10 .* the first eviction holds 2 and the later ones 3, got"),
    (lambda: EMASink(sink=0).check(3, None), "got sink 0"),
    # settings that no block length fits
    (lambda: Steady(sink=0), "the anchor and the average live in sink slots.* got sink 0"),
    (lambda: Steady(sink=18), "got sink 18, window 18"),
    (lambda: SelfForcing(window=3, sink=3), "0 <= sink < window must hold, got sink 3 and window 3"),
    (lambda: VSink(sink=-1), "0 <= sink < window must hold, got sink -1"),
    (lambda: VSink(sink=6), "got sink 6 and window 6"),
    (lambda: InfinityRope(sink=0), "1 <= sink < window must hold, got sink 0 and window 6"),
    (lambda: EMASink(sink=9), "got sink 9 and window 9"),
    (lambda: Steady(alpha=1.5), "alpha must lie in 0..1, got 1.5"),
    (lambda: EMASink(alpha=-0.1), "alpha must lie in 0..1, got -0.1"),
    (lambda: Steady(flush_period=0), "at least 1 .* got 0 and 21; flush=False switches periodic flushing off"),
    (lambda: Steady(flush_warmup=-1), "got 21 and -1"),
    # the length of the video
    (lambda: SelfForcing().check(3, 8), "ends after 21 latent frames, but 24 frames were asked for"),
    (lambda: SelfForcing().check(3, None), "a video without end was asked for"),
]
REFUSED += [
    (lambda policy=policy, setting=setting: policy(**setting), message)
    for policy in (InfinityRope, Steady)
    for setting, message in [
        ({"flush_source": "all"}, "got 'all'"),
        ({"query_position": "ahead"}, "got 'ahead'"),
        ({"flush_keep": 0}, "flush_keep must be at least 1 .* got 0"),
    ]
]
REFUSED += [
    (
        lambda policy=policy: policy(window=18, cut_position=17).begin_scene(3, None, True),
        "beyond all positions of the window \\(0..17\\), got cut_position 17; set memory.cut_position to 18",
    )
    for policy in (InfinityRope, Steady)
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", sorted(set(POLICIES) - set(base.PURGING)))
@pytest.mark.parametrize(
    ("flush", "cut", "missing"),
    [(True, False, "no flush"), (None, True, "no cut"), (True, True, "no flush and no cut")],
)
def test_flushes_and_cuts_are_refused_by_name(name, flush, cut, missing):
    message = f"policy {name} has {missing} at a change of scene; .* has: infinity_rope or steady"
    with pytest.raises(ValueError, match=message):
        POLICIES[name]().begin_scene(3, flush, cut)


@pytest.mark.parametrize("name", POLICIES)
def test_the_policies_that_purge_are_named(name):
    """Error messages recommend them."""
    policy = POLICIES[name]()
    for flush, cut in ((True, False), (None, True), (True, True)):
        try:
            policy.begin_scene(3, flush, cut)
        except ValueError:
            assert name not in base.PURGING
        else:
            assert name in base.PURGING
    assert not policy.begin_scene(3, False, False).flush


def test_the_published_settings_pass_their_checks():
    SelfForcing().check(3, 7)
    SelfForcing(window=9, sink=1, rolling=True).check(3, None)
    for policy in (VSink(), InfinityRope(), EMASink(), Steady()):
        policy.check(3, None)
    Steady().check(6, None)


@pytest.mark.parametrize("row", ABLATION)
def test_the_rows_of_the_ablation_pass_their_checks(row):
    for frames in (3, 6):
        Steady(**ABLATION[row]).check(frames, None)
