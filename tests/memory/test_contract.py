"""What every policy in the table keeps to, through rollouts of a tiny network. A new policy is tested once it is named
there.
"""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from flax import nnx

import steady_jax
from steady_jax import block, parameters
from steady_jax.block import BlockSettings
from steady_jax.config import POLICIES
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.base import PURGING, same_scene
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.nn.embeddings import sinusoid
from steady_jax.nn.rope import rotate, rotation
from steady_jax.rollout import block_noise, rollout
from steady_jax.shapes import UNROTATED

CONFIG = DiTConfig(
    width=48, ffn_width=64, heads=2, layers=2, text_width=32, text_length=8, frequency_width=16, dtype="float32"
)
SMALL = {"window": 9}  # fills, evicts and flushes within a few blocks
ALSO = {
    "self_forcing": {"sink": 1, "rolling": True},
    "ema_sink": {"alpha": 0.9},
    "steady": {"alpha": 0.9, "flush_period": 4, "flush_warmup": 4},
}
CALLS = FewSteps((1000, 500))
FRAMES, SHAPE = 3, (3, 4, 4, CONFIG.channels)  # of a block
TOKENS_PER_FRAME = CONFIG.tokens_per_frame(*SHAPE[1:3])
SEEDS = (7, 8)
# a rollout in parts: the first fills the window, the second evicts (and flushes, where a period is over), the others
# begin with a change of scene
BLOCKS = 3  # in each part
PARTS = ("warm-up", "steady state", "flush", "cut")

every_policy = pytest.mark.parametrize("name", POLICIES)


@functools.partial(jax.jit, static_argnums=0)
def make_part(settings, dit, memory, prompt, seeds, change):
    """One program for all parts of a policy."""
    return rollout(dit, settings, memory, prompt, block_noise(seeds, len(CALLS.steps), SHAPE), BLOCKS, change)


def make_all(name, dit, memory, prompt, seeds, parts=PARTS):
    """Memory and latents after each part."""
    made = {}
    for part in parts:
        made[part] = memory, _ = make_part(settings_of(name), dit, memory, prompt, seeds, change_of(name, part))
    return made


def settings_of(name):
    policy = POLICIES[name](**SMALL, **ALSO.get(name, {}))
    policy.check(FRAMES, BLOCKS * len(PARTS))
    return BlockSettings(policy, CALLS, FRAMES)


def change_of(name, part):
    """What a part does to the memory as it begins; to the policies that cannot purge, a scene is a new prompt."""
    if part in PARTS[:2]:
        return same_scene()
    purges = name in PURGING
    return settings_of(name).policy.begin_scene(FRAMES, True if purges else None, purges and part == "cut")


def network_and_items():
    """A network, and the prompts and seeds of two items."""
    dit = parameters.random(WanDiT, CONFIG)
    texts = jax.random.normal(jax.random.key(0), (len(SEEDS), CONFIG.text_length, CONFIG.text_width))
    return dit, dit.encode_prompt(texts), jnp.array(SEEDS, jnp.uint32)


def empty_memory(name, dit):
    return block.empty_memory(dit, settings_of(name), len(SEEDS), *SHAPE[1:3])


@pytest.fixture(scope="module")
def given():
    return network_and_items()


@pytest.fixture(scope="module")
def made(given):
    """The whole rollout of both items by the policy's name."""
    dit, *items = given
    return functools.cache(lambda name: make_all(name, dit, empty_memory(name, dit), *items))


@every_policy
def test_the_memory_keeps_its_structure_shapes_and_types(name, given):
    part = functools.partial(make_part, settings_of(name))
    for dtype in ("float32", "bfloat16"):
        dit = parameters.abstract(WanDiT, dataclasses.replace(CONFIG, dtype=dtype))
        memory = jax.eval_shape(lambda dit: empty_memory(name, dit), dit)
        after, latents = jax.eval_shape(part, dit, memory, *given[1:], change_of(name, "cut"))
        assert after == memory
        assert after.k.dtype == dtype
        assert (latents.shape, latents.dtype) == ((2, BLOCKS * FRAMES, *SHAPE[1:]), jnp.float32)


@every_policy
def test_a_rollout_counts_its_blocks_and_stays_finite(name, made):
    window, programs = settings_of(name).policy.window, make_part._cache_size()
    for index, (memory, latents) in enumerate(made(name).values(), start=1):
        assert (memory.block, memory.frame) == (index * BLOCKS, index * BLOCKS * FRAMES)
        assert FRAMES <= memory.filled <= window
        assert np.isfinite(latents).all()
    assert make_part._cache_size() <= programs + 1  # warm-up, eviction, flush and cut are one program


@every_policy
def test_what_was_stored_can_be_read_back(name, given, made):
    """The first layer's keys and values depend on the block alone, so they are known without the memory."""
    dit, prompt, _ = given
    for memory, latents in made(name).values():
        stored_at = [stored_positions(name, memory, blocks_ago) for blocks_ago in range(BLOCKS, 0, -1)]
        keys, values = first_layer(dit, prompt, latents, jnp.concatenate(stored_at))
        nothing_left = memory.filled == BLOCKS * FRAMES == memory.frame
        there = (BLOCKS if nothing_left else 1) * FRAMES * TOKENS_PER_FRAME  # tokens
        end = int(memory.filled) * TOKENS_PER_FRAME
        np.testing.assert_allclose(memory.k[0, :, end - there : end], keys[:, -there:], atol=1e-5)
        np.testing.assert_allclose(memory.v[0, :, end - there : end], values[:, -there:], atol=1e-5)


def stored_positions(name, memory, blocks_ago):
    """Positions at which the keys of an earlier block were stored."""
    frame = memory.frame - blocks_ago * FRAMES
    before = dataclasses.replace(memory, filled=memory.filled - FRAMES, frame=frame)
    stored = settings_of(name).policy.read(before, FRAMES, jnp.int32(0), same_scene()).stored
    return jnp.full(FRAMES, UNROTATED) if stored is None else stored


@jax.jit
def first_layer(dit, prompt, x0, positions):
    """Keys, rotated at `positions`, and values of the first layer's self-attention on clean latents, [b, t, d]."""
    layer, prompt = jax.tree.map(lambda x: x[0], (dit.blocks, prompt))
    embedded = dit.time_embed(sinusoid(jnp.zeros(x0.shape[:2]), CONFIG.frequency_width))
    time = rearrange(dit.time_project(nnx.silu(embedded)), "b f (six d) -> b f six d", six=6)
    _, (k, v) = layer(dit.patch_embed(x0), time, prompt, lambda q, k, v: (q, (k, v)))
    k = rotate(k, rotation(positions, *CONFIG.grid(*x0.shape[2:4]), CONFIG.head_width))
    return tuple(rearrange(x, "b f t n h -> b (f t) (n h)") for x in (k, v))


@every_policy
def test_positions_are_those_of_the_slots_or_of_the_video(name, made):
    """In the steady state: the window is full, and the block evicts."""
    memory, window = made(name)["steady state"][0], settings_of(name).policy.window
    assert memory.filled == window
    policy = settings_of(name).policy
    memory, evicted = policy.make_room(memory, FRAMES, same_scene())
    reading = policy.read(memory, FRAMES, evicted, same_scene())
    assert reading.start == window - FRAMES
    if reading.read is None:  # keys turn once, before they are stored
        np.testing.assert_array_equal(reading.stored, memory.frame + np.arange(FRAMES))
        np.testing.assert_array_equal(reading.query, reading.stored)
        return
    np.testing.assert_array_equal(reading.query, np.arange(window - FRAMES, window))
    np.testing.assert_array_equal(reading.read[1:], np.arange(1, window))
    assert reading.read[0] in (0, UNROTATED)
    assert reading.stored is None or (reading.stored == UNROTATED).all()


@every_policy
def test_an_item_alone_and_without_jit_is_what_it_was_in_the_batch(name, given, made):
    """Block by block, where a scene begins with a cut; the second block evicts."""
    item, settings = slice(1, 2), settings_of(name)
    dit, prompt, seeds = given
    prompt = dataclasses.replace(prompt, k=prompt.k[:, item], v=prompt.v[:, item])
    memory, _ = made(name)["flush"]
    memory = dataclasses.replace(memory, k=memory.k[:, item], v=memory.v[:, item])
    noise, alone = block_noise(seeds[item], len(CALLS.steps), SHAPE), []
    with jax.disable_jit():
        for change in (change_of(name, "cut"), same_scene()):
            memory, x0 = block.generate_block(dit, settings, memory, prompt, noise(memory.block), change)
            alone.append(x0)
    in_batch = made(name)["cut"][1]
    assert_close(jnp.concatenate(alone, axis=1), in_batch[item, : 2 * FRAMES])
    assert np.abs(in_batch[0] - in_batch[1]).max() > 0.1


def assert_close(actual, expected, atol=1e-5):
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=atol, rtol=0), actual, expected)


SHARD = """
import sys
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from test_contract import POLICIES, empty_memory, make_all, network_and_items
mesh = jax.make_mesh((2,), ("items",), axis_types=(jax.sharding.AxisType.Auto,))
def cut(tree, *axes):
    return jax.device_put(tree, jax.tree.map(lambda x: NamedSharding(mesh, PartitionSpec(*axes[: x.ndim])), tree))
dit, prompt, seeds = network_and_items()
dit, prompt, seeds, found = cut(dit), cut(prompt, None, "items"), cut(seeds, "items"), {}
for name in POLICIES:
    memory = cut(empty_memory(name, dit), None, "items")
    for part, (memory, latents) in make_all(name, dit, memory, prompt, seeds).items():
        for array, axis in ((latents, 0), (memory.k, 1), (memory.v, 1)):
            assert [shard.data.shape[axis] for shard in array.addressable_shards] == [1, 1], (name, part, axis)
        found |= {f"{name} {part} latents": latents, f"{name} {part} k": memory.k, f"{name} {part} v": memory.v}
np.savez(sys.argv[1], **found)
"""


@pytest.mark.slow
def test_sharded_over_two_devices_a_batch_is_the_same(made, tmp_path):
    """One item on each; in a child process, as the number of devices is fixed once JAX has started."""
    root = os.path.dirname(os.path.dirname(steady_jax.__file__))
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",  # compiles sooner
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([root, os.path.dirname(__file__)]),
    }
    command = [sys.executable, "-c", SHARD, str(tmp_path / "found.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        for name in POLICIES:
            for part, (memory, latents) in made(name).items():
                for what, array in (("latents", latents), ("k", memory.k), ("v", memory.v)):
                    np.testing.assert_allclose(found[f"{name} {part} {what}"], array, atol=1e-5, rtol=0)


def test_v_sink_and_infinity_rope_are_one_until_a_flush(made):
    for part in PARTS[:2]:
        (v_sink, v_sink_latents), (rope, rope_latents) = made("v_sink")[part], made("infinity_rope")[part]
        behind = slice(TOKENS_PER_FRAME, None)
        assert_close((v_sink_latents, v_sink.v), (rope_latents, rope.v), atol=1e-6)
        assert_close(v_sink.k[:, :, behind], rope.k[:, :, behind], atol=1e-6)
        # of slot 0 all tokens but the first, whose row and column are 0, are turned
        first = v_sink.k[:, :, 1:TOKENS_PER_FRAME] - rope.k[:, :, 1:TOKENS_PER_FRAME]
        assert np.abs(first).max(axis=-1).min() > 0.1
    assert np.abs(made("v_sink")["flush"][1] - made("infinity_rope")["flush"][1]).max() > 0.1


def test_self_forcing_is_the_same_at_frame_1_000_000(given):
    """Only how far frames stand apart matters, not where in the video they stand."""
    dit, *items = given
    empty = empty_memory("self_forcing", dit)
    early, late = (
        make_all("self_forcing", dit, dataclasses.replace(empty, frame=jnp.int32(first)), *items, PARTS[:2])
        for first in (10, 1_000_000)
    )
    for part in PARTS[:2]:
        assert_close(late[part][1], early[part][1])
        assert np.isfinite(late[part][1]).all()
        # the memory does stand elsewhere: the keys are turned by other angles
        assert np.abs(late[part][0].k - early[part][0].k).max() > 0.1
