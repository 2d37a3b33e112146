import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import CHANNELS, COLUMNS, ROWS, arrays, close, copied, embeddings, network, setup, subtracted

from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stages.base import ids_of
from steady_jax.train.stages.ode_init import GENERATOR, OF_TRAINING, ODEInit

FRAMES, BLOCKS, BATCH = 2, 2, 4
CALLS = FewSteps((1000, 500))
ROLLOUT = RolloutSettings(BlockSettings(Steady(window=8), CALLS, FRAMES), BLOCKS, BLOCKS, ROWS, COLUMNS)


def pairs(seed, states=3):
    shape = (BATCH, states, FRAMES * BLOCKS, ROWS, COLUMNS, CHANNELS)
    trajectory = np.random.default_rng(seed).standard_normal(shape).astype(np.float16)
    return {"trajectory": jnp.asarray(trajectory), "embeddings": embeddings(*range(BATCH))}


@pytest.fixture(scope="module")
def stage(model):
    held_out = lambda: iter([pairs(7), pairs(8)])  # noqa: E731
    return ODEInit(setup({GENERATOR: network("dit", model(0))}, batch=BATCH), ROLLOUT, held_out=held_out)


@pytest.fixture(scope="module")
def begun(stage):
    return stage.start()


def drawn(stage, step):
    """The state of its trajectory that each item gets in a step: see the key of a step."""
    return np.asarray(jax.random.randint(stage.key(jnp.asarray(ids_of(step, OF_TRAINING, 0))), (BATCH,), 0, 3))


def step_with(stage, wanted):
    """The first step whose draws include the clean end, or do not."""
    return next(step for step in range(100) if (2 in drawn(stage, step)) == wanted)


@pytest.mark.parametrize("with_clean", [pytest.param(False, marks=pytest.mark.slow), True])
def test_loss_and_gradient_are_those_of_items_one_by_one(with_clean, stage, begun):
    step = step_with(stage, with_clean)
    batch, chosen = pairs(1), drawn(stage, step)
    counted = [item for item in range(BATCH) if chosen[item] != 2]  # the clean end says nothing
    assert len(counted) > 1

    def loss_of(weights):
        losses = []
        for item in range(BATCH):
            state = batch["trajectory"][item, min(chosen[item], 1)][None].astype(jnp.float32)
            timestep, sigma = (float(table[min(chosen[item], 1)]) for table in (CALLS.timesteps, CALLS.sigmas))
            prompt = weights.encode_prompt(batch["embeddings"][item : item + 1])
            velocity = weights.block_causal(state, jnp.full(state.shape[:2], timestep), prompt, FRAMES)
            error = state - sigma * velocity - batch["trajectory"][item, 2].astype(jnp.float32)
            losses.append(jnp.mean(error**2) if item in counted else 0.0)
        return sum(losses) / len(counted)

    weights = begun.networks[GENERATOR].weights
    loss, gradient = jax.jit(jax.value_and_grad(loss_of))(weights)
    before = arrays(weights)
    state, metrics = stage.train_step(step, copied(begun), batch)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    close(subtracted(before, arrays(state.networks[GENERATOR].weights)), arrays(gradient))
    assert int(state.step) == 1


def test_held_out_numbers_are_the_same_each_time_and_change_with_training(stage, begun):
    before = stage.held_out(begun)
    assert before == stage.held_out(begun)
    state, _ = stage.train_step(0, copied(begun), pairs(7))
    assert stage.held_out(state)["loss"] != before["loss"]


def test_pairs_of_another_number_of_levels_are_refused(model, begun):
    other = ODEInit(setup({GENERATOR: network("dit", model(0))}, batch=BATCH), ROLLOUT)
    with pytest.raises(ValueError, match=r"each of the student's 2 noise levels and the clean end, got 5 states"):
        other.train_step(0, copied(begun), pairs(0, states=5))
