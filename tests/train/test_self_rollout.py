"""The gradient in two passes equals plain differentiation of a rollout whose memory is cut off."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_torch import TINY

from steady_jax import block, parameters
from steady_jax.block import BlockSettings
from steady_jax.config import POLICIES
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.models.wan_dit import WanDiT
from steady_jax.rollout import block_noise, rollout
from steady_jax.train import self_rollout
from steady_jax.train.self_rollout import RolloutSettings

CONFIG = dataclasses.replace(TINY["dit"], dtype="float32", layers=2, attention="xla")
CALLS = FewSteps((1000, 500))
HEIGHT = WIDTH = 4
SEEDS = jnp.array([3, 4], jnp.uint32)
# evictions, averages and a periodic flush within 6 blocks of 3 frames
SMALL = {
    "self_forcing": {"window": 9, "sink": 1, "rolling": True},
    "v_sink": {"window": 9},
    "infinity_rope": {"window": 9},
    "ema_sink": {"window": 9, "alpha": 0.9},
    "steady": {"window": 9, "alpha": 0.9, "flush_period": 4, "flush_warmup": 3},
}


@pytest.fixture(scope="module")
def dit():
    return parameters.random(WanDiT, CONFIG)


@pytest.fixture(scope="module")
def embeddings():
    return jax.random.normal(jax.random.key(1), (2, CONFIG.text_length, CONFIG.text_width))


def settings_of(policy, **changes):
    made = BlockSettings(POLICIES[policy](**SMALL[policy]), CALLS, frames=3)
    return RolloutSettings(**{"block": made, "blocks": 6, "counted": 6, "height": HEIGHT, "width": WIDTH, **changes})


def loss_of(clip):
    """Any loss that depends on all of a clip."""
    target = jax.random.normal(jax.random.key(2), clip.shape)
    return jnp.mean((clip - target) ** 2 * (1 + jnp.arange(clip.shape[1])[:, None, None, None]))


def naive_loss(dit, settings, embeddings, exit_call):
    """The rollout as one scan that `jax.grad` goes through, cut off everywhere but at the exit call."""
    frozen = jax.lax.stop_gradient(dit)
    noise = block_noise(SEEDS, settings.calls, (settings.block.frames, HEIGHT, WIDTH, CONFIG.channels))
    prompt = dit.encode_prompt(embeddings)
    cut_off = jax.lax.stop_gradient(prompt)

    def one_block(memory, index):
        memory, view = block.open_block(settings.block, CONFIG, memory, HEIGHT, WIDTH)
        xt = block.denoise(frozen, settings.block, memory, view, cut_off, noise(index), exit_call)
        x0 = block.predict_x0(dit, settings.block, memory, view, prompt, jax.lax.stop_gradient(xt), exit_call)
        context = jax.lax.stop_gradient(self_rollout.stored(settings, x0, SEEDS, index))
        return block.refresh(frozen, settings.block, memory, view, cut_off, context), x0

    memory = block.empty_memory(dit, settings.block, 2, HEIGHT, WIDTH)
    _, clip = jax.lax.scan(one_block, memory, jnp.arange(settings.blocks))
    return loss_of(self_rollout.joined(clip[-settings.counted :]))


def two_passes(dit, settings, embeddings, exit_call):
    rolled = self_rollout.roll(dit, settings, embeddings, SEEDS, exit_call)
    loss, slope = jax.value_and_grad(loss_of)(rolled.clip)
    return loss, self_rollout.gradient(dit, settings, embeddings, SEEDS, exit_call, rolled, slope)


@pytest.mark.parametrize(
    "policy", [*(pytest.param(name, marks=pytest.mark.slow) for name in SMALL if name != "steady"), "steady"]
)
def test_gradient_is_that_of_plain_differentiation(dit, embeddings, policy):
    settings = settings_of(policy)
    check(dit, settings, embeddings, exit_call=1)


@pytest.mark.parametrize(
    ("changes", "exit_call"),
    [
        ({"counted": 3, "context_sigma": 0.1}, 1),
        pytest.param({"counted": 2}, 0, marks=pytest.mark.slow),
        pytest.param({"context_sigma": 0.3}, 1, marks=pytest.mark.slow),
    ],
)
def test_gradient_of_longer_rollouts_and_noisy_context(dit, embeddings, changes, exit_call):
    check(dit, settings_of("steady", **changes), embeddings, exit_call)


def check(dit, settings, embeddings, exit_call):
    loss, ours = jax.jit(lambda dit: two_passes(dit, settings, embeddings, exit_call))(dit)
    naive, theirs = jax.jit(jax.value_and_grad(lambda dit: naive_loss(dit, settings, embeddings, exit_call)))(dit)
    np.testing.assert_allclose(loss, naive, rtol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    for path, leaf in parameters.named(theirs).items():
        np.testing.assert_allclose(parameters.named(ours)[path], leaf, atol=1e-5 * largest, err_msg=path)
        assert path.startswith("blocks/") or float(jnp.abs(leaf).max()) > 0, path


@pytest.mark.slow
def test_a_rollout_to_the_last_call_is_that_of_sampling(dit, embeddings):
    settings = settings_of("steady", counted=4)
    rolled = self_rollout.roll(dit, settings, embeddings, SEEDS, settings.calls - 1)
    noise = block_noise(SEEDS, settings.calls, (3, HEIGHT, WIDTH, CONFIG.channels))
    memory = block.empty_memory(dit, settings.block, 2, HEIGHT, WIDTH)
    _, clip = rollout(dit, settings.block, memory, dit.encode_prompt(embeddings), noise, settings.blocks)
    np.testing.assert_allclose(rolled.before, clip[:, :6], atol=1e-5)
    np.testing.assert_allclose(rolled.clip, clip[:, 6:], atol=1e-5)


@pytest.mark.slow
def test_items_do_not_see_each_other(dit, embeddings):
    settings = settings_of("steady")
    both = self_rollout.roll(dit, settings, embeddings, SEEDS, 1).clip
    alone = self_rollout.roll(dit, settings, embeddings[1:], SEEDS[1:], 1).clip
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counted": 7}, "1 <= counted blocks <= blocks must hold, got 7 of 6"),
        ({"context_sigma": 1.0}, "context_sigma must lie in 0..1"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        settings_of("steady", **changes)


def test_blocks_that_do_not_fit_the_policy_are_refused():
    full = BlockSettings(POLICIES["self_forcing"](window=9), CALLS, frames=3)
    with pytest.raises(ValueError, match="window"):
        RolloutSettings(full, blocks=4, counted=4, height=HEIGHT, width=WIDTH)
