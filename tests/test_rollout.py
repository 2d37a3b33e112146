"""A rollout can be split, streamed and batched in any way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steady_jax import block, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.rollout import block_noise, draw, rollout

CONFIG = DiTConfig(
    width=48, ffn_width=64, heads=2, layers=2, text_width=32, text_length=8, frequency_width=16, dtype="float32"
)
# small enough that 8 blocks see warm-up, eviction, a flush, warm-up again and a second flush
POLICY = Steady(window=6, sink=3, alpha=0.9, flush_period=4, flush_warmup=4, flush_keep=3)
SETTINGS = BlockSettings(POLICY, FewSteps((1000, 500)), frames=3)
SHAPE = (SETTINGS.frames, 4, 4, CONFIG.channels)
SEEDS = jnp.array([7, 8], jnp.uint32)
BLOCKS = 9


@pytest.fixture(scope="module")
def dit():
    return parameters.random(WanDiT, CONFIG)


@pytest.fixture(scope="module")
def whole(dit):
    return roll(dit, SEEDS, start(dit, 2), BLOCKS)


def start(dit, batch):
    return block.empty_memory(dit, SETTINGS, batch, *SHAPE[1:3])


def prompt_of(dit, items):
    texts = jax.random.normal(jax.random.key(0), (2, CONFIG.text_length, CONFIG.text_width))
    return dit.encode_prompt(texts[items])


def roll(dit, seeds, memory, blocks, items=slice(None)):
    @jax.jit
    def run(dit, memory, prompt, seeds):
        return rollout(dit, SETTINGS, memory, prompt, block_noise(seeds, len(SETTINGS.calls.steps), SHAPE), blocks)

    return run(dit, memory, prompt_of(dit, items), seeds)


def test_a_split_rollout_equals_a_whole_one_bit_for_bit(dit, whole):
    memory, first = roll(dit, SEEDS, start(dit, 2), 4)
    memory, second = roll(dit, SEEDS, memory, BLOCKS - 4)
    np.testing.assert_array_equal(jnp.concatenate([first, second], axis=1), whole[1])
    jax.tree.map(np.testing.assert_array_equal, memory, whole[0])


def test_one_compiled_block_after_the_other_equals_the_scan_bit_for_bit(dit, whole):
    @jax.jit
    def step(dit, memory, prompt, seeds):
        noise = block_noise(seeds, len(SETTINGS.calls.steps), SHAPE)
        return block.generate_block(dit, SETTINGS, memory, prompt, noise(memory.block))

    memory, parts, prompt = start(dit, 2), [], prompt_of(dit, slice(None))
    for _ in range(BLOCKS):
        memory, x0 = step(dit, memory, prompt, SEEDS)
        parts.append(x0)
    np.testing.assert_array_equal(jnp.concatenate(parts, axis=1), whole[1])
    assert step._cache_size() == 1  # warm-up, eviction and flush are one program


def test_an_item_of_a_batch_is_what_it_would_be_alone(dit, whole):
    _, alone = roll(dit, SEEDS[1:], start(dit, 1), BLOCKS, slice(1, 2))
    np.testing.assert_allclose(alone, whole[1][1:], atol=1e-5)
    assert np.abs(whole[1][0] - whole[1][1]).max() > 0.1


@pytest.mark.slow
def test_without_jit_the_rollout_is_the_same(dit, whole):
    with jax.disable_jit():
        _, latents = rollout(
            dit, SETTINGS, start(dit, 2), prompt_of(dit, slice(None)), block_noise(SEEDS, 2, SHAPE), blocks=1
        )
    np.testing.assert_allclose(latents, whole[1][:, : SETTINGS.frames], atol=1e-5)


def test_the_memory_says_where_the_rollout_stands(whole):
    memory, latents = whole
    assert latents.shape == (2, BLOCKS * SETTINGS.frames, *SHAPE[1:])
    assert (memory.block, memory.frame) == (BLOCKS, BLOCKS * SETTINGS.frames)
    assert np.isfinite(latents).all()


def test_noise_depends_on_seed_block_and_call_alone():
    base = draw(SEEDS, 3, 1, SHAPE)
    np.testing.assert_array_equal(draw(SEEDS[1:], 3, 1, SHAPE)[0], base[1])
    np.testing.assert_array_equal(jax.jit(lambda block: draw(SEEDS, block, 1, SHAPE))(3), base)
    for other in (draw(SEEDS, 4, 1, SHAPE), draw(SEEDS, 3, 0, SHAPE), draw(SEEDS + 1, 3, 1, SHAPE)[:1]):
        assert np.abs(other - base[: len(other)]).min() > 0
    assert abs(float(base.mean())) < 0.1
    assert abs(float(base.std()) - 1) < 0.1


def test_stopping_at_an_earlier_call_gives_what_that_call_gets(dit):
    """Training leaves at a drawn call: `denoise` up to it, then one call more, equals calls made by hand."""
    settings = dataclasses.replace(SETTINGS, calls=FewSteps((1000, 750, 250)))
    prompt, noise = prompt_of(dit, slice(1)), block_noise(SEEDS[:1], 3, SHAPE)(0)
    memory, view = block.open_block(settings, CONFIG, start(dit, 1), *SHAPE[1:3])
    xt = noise[0]
    for call in range(2):
        left = block.denoise(dit, settings, memory, view, prompt, noise, jnp.int32(call))
        np.testing.assert_allclose(left, xt, atol=1e-5)
        x0 = block.predict_x0(dit, settings, memory, view, prompt, xt, call)
        sigma = settings.calls.sigmas[call + 1]
        xt = (1 - sigma) * x0 + sigma * noise[call + 1]


def test_a_call_leaves_the_memory_alone_and_refresh_writes_the_block(dit):
    prompt, memory = prompt_of(dit, slice(1)), start(dit, 1)
    memory, view = block.open_block(SETTINGS, CONFIG, memory, *SHAPE[1:3])
    x0 = jax.random.normal(jax.random.key(1), (1, *SHAPE))
    refreshed = block.refresh(dit, SETTINGS, memory, view, prompt, x0)
    written = SETTINGS.frames * CONFIG.tokens_per_frame(*SHAPE[1:3])
    assert np.abs(refreshed.k[:, :, :written]).min() > 0
    assert np.abs(refreshed.k[:, :, written:]).max() == 0
    assert (refreshed.filled, refreshed.block) == (SETTINGS.frames, 1)


def test_the_memory_after_a_block_is_a_refresh_on_its_clean_result(dit):
    prompt, noise = prompt_of(dit, slice(1)), block_noise(SEEDS[:1], 2, SHAPE)(0)
    memory, x0 = block.generate_block(dit, SETTINGS, start(dit, 1), prompt, noise)
    room, view = block.open_block(SETTINGS, CONFIG, start(dit, 1), *SHAPE[1:3])
    cache = dit.refresh(x0, jnp.zeros(x0.shape[:2]), prompt, block.cache_of(room), view)
    np.testing.assert_allclose(memory.k, cache.k, atol=1e-5)
    np.testing.assert_allclose(memory.v, cache.v, atol=1e-5)


def test_blocks_have_at_least_one_frame():
    with pytest.raises(ValueError, match="at least 1 latent frame, got 0"):
        BlockSettings(POLICY, FewSteps(), frames=0)
