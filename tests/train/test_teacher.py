import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import CHANNELS, COLUMNS, ROWS, TOKENIZER, arrays, close, copied, network, setup, subtracted

from steady_jax.diffusion.flow_matching import sigma_table
from steady_jax.diffusion.ode import ODE
from steady_jax.train.moving import moving_share, moving_weights
from steady_jax.train.stages.base import ids_of
from steady_jax.train.stages.teacher import DIT, OF_TRAINING, TEXT_ENCODER, Teacher, TeacherSettings

BATCH, FRAMES, SHIFT, NEGATIVE = 2, 2, 3.0, "blurred"


def batch_of(*prompts, seed=0):
    ids, mask = TOKENIZER.encode(prompts)
    latents = np.random.default_rng(seed).standard_normal((BATCH, FRAMES, ROWS, COLUMNS, CHANNELS))
    return {"latents": jnp.asarray(latents, jnp.float32), "ids": jnp.asarray(ids), "mask": jnp.asarray(mask)}


OWN, OTHER, DROPPED = batch_of("rain", "a sea"), batch_of("fog", "fire"), batch_of(NEGATIVE, NEGATIVE)


def make(model, dropout, moving=0.0):
    learners = {DIT: network("dit", model(0)), TEXT_ENCODER: network("text_encoder", model(0))}
    told = {"tokenizer": TOKENIZER, "negative_prompt": NEGATIVE, "held_out": lambda: iter([OWN, OTHER])}
    settings = TeacherSettings(ODE(2, SHIFT, guidance=1.0), SHIFT, dropout, moving)
    return Teacher(setup(learners), settings, **told, sample_shape=(FRAMES, ROWS, COLUMNS, CHANNELS))


@pytest.fixture(scope="module")
def stage(model):
    return make(model, 0.0)


@pytest.fixture(scope="module")
def dropping(model):
    """Nearly every item loses its prompt."""
    return make(model, 0.999)


@functools.cache
def weighing(model):
    return make(model, 0.0, moving=3.0)


@pytest.fixture(scope="module")
def begun(stage):
    return stage.start()


def step(stage, begun, batch):
    """Loss and gradients of both networks by path."""
    before = {name: arrays(begun.networks[name].weights) for name in (DIT, TEXT_ENCODER)}
    state, metrics = stage.train_step(0, copied(begun), batch)
    taken = {name: subtracted(before[name], arrays(state.networks[name].weights)) for name in before}
    return float(metrics["loss"]), taken


def test_loss_and_gradients_are_those_of_flow_matching(stage, begun):
    of_noise, of_levels, _ = jax.random.split(stage.key(jnp.asarray(ids_of(0, OF_TRAINING, 0))), 3)
    x0 = OWN["latents"]
    noise = jax.random.normal(of_noise, x0.shape)
    sigma = jnp.asarray(sigma_table(SHIFT))[jax.random.randint(of_levels, (BATCH,), 0, 1000)]

    def loss_of(dit, encoder):
        level = sigma[:, None, None, None, None]
        xt, timesteps = (1 - level) * x0 + level * noise, jnp.broadcast_to(1000 * sigma[:, None], x0.shape[:2])
        velocity = dit(xt, timesteps, dit.encode_prompt(encoder(OWN["ids"], OWN["mask"])))
        return jnp.mean((velocity - (noise - x0)) ** 2)

    networks = [begun.networks[name].weights for name in (DIT, TEXT_ENCODER)]
    loss, gradients = jax.jit(jax.value_and_grad(loss_of, (0, 1)))(*networks)
    found, taken = step(stage, begun, OWN)
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    for name, gradient in zip((DIT, TEXT_ENCODER), gradients, strict=True):
        close(taken[name], arrays(gradient), share=1e-3)


def test_a_dropped_prompt_becomes_the_negative_one(stage, dropping, begun):
    loss, taken = step(stage, begun, DROPPED)
    found, found_taken = step(dropping, begun, OWN)
    np.testing.assert_allclose(found, loss, rtol=1e-6)
    close(found_taken[DIT], taken[DIT])
    close(found_taken[TEXT_ENCODER], taken[TEXT_ENCODER], share=1e-3)
    assert abs(step(stage, begun, OWN)[0] / loss - 1) > 1e-4  # prompts matter


def test_what_moves_weighs_more(model, stage, begun):
    with pytest.raises(ValueError, match=r"moving 3\.0 weighs .* the data have no 'moving'"):
        weighing(model).train_step(0, copied(begun), OWN)
    pixels = np.zeros((BATCH, ROWS * 8, COLUMNS * 8), bool)
    alike, _ = step(weighing(model), begun, {**OWN, "moving": jnp.asarray(pixels)})
    np.testing.assert_allclose(alike, step(stage, begun, OWN)[0], rtol=1e-6)
    pixels[0, :8, :4] = True  # half of the first latent of the first clip
    found, _ = step(weighing(model), begun, {**OWN, "moving": jnp.asarray(pixels)})
    share = np.zeros((BATCH, ROWS, COLUMNS), np.float32)
    share[0, 0, 0] = 0.5
    np.testing.assert_array_equal(moving_share(jnp.asarray(pixels), ROWS, COLUMNS), share)
    np.testing.assert_array_equal(moving_share(jnp.asarray(share), ROWS, COLUMNS), share)
    weights = np.asarray(moving_weights(jnp.asarray(share), 3.0))
    np.testing.assert_allclose(weights[0, 0, 0], 2.5 / (1 + 1.5 / (ROWS * COLUMNS)), rtol=1e-6)
    np.testing.assert_array_equal(weights[1], 1)
    assert abs(found / alike - 1) > 1e-4


def test_held_out_numbers_are_the_same_each_time_and_drop_no_prompt(stage, dropping, begun):
    found = stage.held_out(begun)
    assert found == stage.held_out(begun)
    np.testing.assert_allclose(dropping.held_out(begun)["loss"], found["loss"], rtol=1e-6)
    state, _ = stage.train_step(0, copied(begun), OWN)
    assert stage.held_out(state)["loss"] != found["loss"]


def test_samples_depend_on_prompt_and_seed(stage, begun):
    first = np.asarray(stage.sample(begun, ["rain", "fog"], seed=0))
    assert first.shape == (2, FRAMES, ROWS, COLUMNS, CHANNELS)
    np.testing.assert_array_equal(first, stage.sample(begun, ["rain", "fog"], seed=0))
    other = np.asarray(stage.sample(begun, ["rain", "fire"], seed=0))
    np.testing.assert_allclose(other[0], first[0], atol=1e-5)
    assert abs(other[1] - first[1]).max() > 1e-4
    assert abs(np.asarray(stage.sample(begun, ["rain", "fog"], seed=1)) - first).max() > 0.1


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"moving, a weight of the loss, must not be negative, got -1"):
        TeacherSettings(ODE(), moving=-1)


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"dropout": -0.1}, {"shift": 0.0}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"shift must be positive and dropout lie in 0\.\.1, below 1"):
        TeacherSettings(ODE(), **wrong)
