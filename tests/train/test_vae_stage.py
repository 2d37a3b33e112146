import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import VAE as SIZES
from helpers_stages import copied, network, setup

from steady_jax import checkpoint, parameters
from steady_jax.models.wan_vae import VAEConfig, WanVAE
from steady_jax.pixels import from_uint8
from steady_jax.train.moving import check_moving
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.stages.vae import VAE, VAESettings, VAEStage, changes, weighted_l1

BATCH, FRAMES, SIZE = 2, 3, 16  # pixel frames, rows and columns
# the average moves at once, so that a few updates show in it
QUICK = OptimiserSettings(1e-2, b1=0.9, clip=1.0, average=0.1)


def clips(seed):
    """A bright square, said to move, on a ramp: something that can be learnt."""
    rng, moving = np.random.default_rng(seed), np.zeros((BATCH, SIZE, SIZE), bool)
    pixels = np.tile(np.linspace(0, 200, SIZE), (BATCH, FRAMES, SIZE, 1))[..., None].repeat(3, -1)
    for item in range(BATCH):
        row, column = rng.integers(0, SIZE // 2, 2)
        pixels[item, :, row : row + 8, column : column + 8] = 255
        moving[item, row : row + 8, column : column + 8] = True
    return {"pixels": jnp.asarray(pixels.astype(np.uint8)), "moving": jnp.asarray(moving)}


HELD_OUT = [clips(100), clips(101)]
SETTINGS = VAESettings(moving=2.0, still=0.1)
MOVING = 8 * 8 / SIZE**2  # share of the pixels


@pytest.fixture(scope="module")
def stage(model):
    made = setup({VAE: network("vae", model(0))}, optimiser=QUICK)
    return VAEStage(made, SETTINGS, held_out=lambda: iter(HELD_OUT), samples=1)


@pytest.fixture(scope="module")
def trained(stage):
    """The state after 40 steps, and the losses of all steps."""
    state, losses = stage.start(), []
    for step in range(40):
        state, metrics = stage.train_step(step, state, clips(step))
        losses.append({name: float(value) for name, value in metrics.items()})
    return state, losses


def test_it_learns(stage, trained):
    state, losses = trained
    assert np.mean([one["loss"] for one in losses[-5:]]) < 0.8 * np.mean([one["loss"] for one in losses[:5]])
    before, after = stage.held_out(stage.start()), stage.held_out(state)
    assert after["loss"] < before["loss"]
    assert after["psnr"] > before["psnr"]
    assert after["moving_l1"] < before["moving_l1"]
    assert after == stage.held_out(state)


def test_the_loss_is_the_sum_of_its_parts(trained):
    for one in trained[1]:
        l1 = (one["l1"] + SETTINGS.moving * MOVING * one["moving_l1"]) / (1 + SETTINGS.moving * MOVING)
        rest = {"gradient": "gradient_l1", "still": "still_l1", "kl": "kl"}
        total = l1 + sum(getattr(SETTINGS, weight) * one[part] for weight, part in rest.items())
        np.testing.assert_allclose(one["loss"], total, rtol=1e-5)


def test_latents_of_the_exported_folder_are_normalised(stage, trained, tmp_path):
    stage.export(trained[0], tmp_path / "model")
    config = checkpoint.describe(tmp_path / "model", parts=["vae"]).parts["vae"].config(VAEConfig, dtype="float32")
    assert config.latent_mean != SIZES.latent_mean
    vae = checkpoint.load_component(tmp_path / "model", "vae", WanVAE, config)
    encode = jax.jit(WanVAE.encode)
    latents = np.concatenate([encode(vae, from_uint8(batch["pixels"])) for batch in HELD_OUT])
    np.testing.assert_allclose(latents.mean((0, 1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(latents.std((0, 1, 2, 3)), 1, atol=1e-3)


def test_an_encoder_that_is_not_trained_stays_with_its_latents(model, tmp_path):
    still = dataclasses.replace(QUICK, weight_decay=0.0)
    made = setup({VAE: network("vae", model(0))}, optimiser=still)
    stage = VAEStage(made, VAESettings(train_encoder=False), held_out=lambda: iter(HELD_OUT))
    state = stage.start()
    before = {path: np.asarray(array) for path, array in parameters.named(state.networks[VAE].weights).items()}
    for step in range(2):
        state, _ = stage.train_step(step, state, clips(step))
    after = parameters.named(state.networks[VAE].weights)
    moved = {path.split("/")[0] for path in before if not np.array_equal(before[path], after[path])}
    assert moved == {"decoder", "from_latent"}
    stage.export(state, tmp_path / "model")
    config = checkpoint.describe(tmp_path / "model", parts=["vae"]).parts["vae"].config(VAEConfig, dtype="float32")
    assert (config.latent_mean, config.latent_std) == (SIZES.latent_mean, SIZES.latent_std)


def test_samples_show_a_clip_beside_its_reconstruction(stage, trained):
    (name, clip), *more = stage.samples(trained[0]).items()
    assert (name, more) == ("0-reconstruction", [])
    assert clip.shape == (FRAMES, SIZE, 2 * SIZE, 3)
    np.testing.assert_array_equal(clip[:, :, :SIZE], HELD_OUT[0]["pixels"][0])


def test_latents_cannot_be_normalised_by_nothing(stage, model, trained, tmp_path):
    made = setup({VAE: network("vae", model(0))}, optimiser=QUICK)
    with pytest.raises(ValueError, match=r"set data\.held_out above 0"):
        VAEStage(made, VAESettings(), held_out=tuple).export(copied(trained[0]), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_of_the_loss_are_not_negative():
    with pytest.raises(ValueError, match=r"must not be negative, got gradient -1, kl 0\.0, still 0\.0 and moving 0\.0"):
        VAESettings(-1, 0.0)
    with pytest.raises(ValueError, match=r"must not be negative, .* moving -0\.5"):
        VAESettings(moving=-0.5)
    with pytest.raises(ValueError, match=r"log_variance must lie in .* got 21"):
        VAESettings(log_variance=21)


def test_every_clip_counts_the_same_however_much_of_it_moves():
    moving = jnp.array([[[1, 0], [0, 0]], [[1, 1], [0, 0]]], bool)  # one pixel of four, and two of four
    x = jnp.zeros((2, 3, 2, 2, 3))
    y = x + jnp.array([[[4.0, 1.0], [1.0, 1.0]], [[2.0, 2.0], [0.0, 0.0]]])[:, None, :, :, None]
    weighted, found = weighted_l1(x, y, moving, 3.0)
    np.testing.assert_allclose(weighted, ((4 * 4 + 3) / (4 + 3) + (4 * 2 + 4 * 2) / (4 + 4 + 2)) / 2, rtol=1e-6)
    np.testing.assert_allclose([found["l1"], found["moving_l1"]], [(7 + 4) / 8, (4 + 2 + 2) / 3], rtol=1e-6)
    np.testing.assert_allclose(weighted_l1(x, y, moving, 0.0)[0], found["l1"], rtol=1e-6)
    unknown, parts = weighted_l1(x, y, None, 0.0)
    assert unknown == found["l1"]
    assert set(parts) == {"l1"}
    assert weighted_l1(x, y, jnp.zeros_like(moving), 3.0)[1]["moving_l1"] == 0


def test_an_error_that_stays_does_not_count_as_one_that_comes_and_goes():
    error = jnp.zeros((1, 4, 2, 2, 3)) + 5
    assert changes(error, None) == 0
    blinking = error.at[:, 0, 0].add(4.0)  # the upper row: one of four frames is 3 from the mean, three are 1
    assert changes(blinking, None) == 0.75
    assert changes(blinking, jnp.array([[[False, False], [True, True]]])) == 1.5
    assert changes(blinking, jnp.ones((1, 2, 2), bool)) == 0


def test_what_moves_must_be_known_to_weigh_more(stage):
    state = stage.abstract()
    with pytest.raises(ValueError, match=r"moving 2\.0 weighs .* the data have no 'moving'"):
        stage.train_step(0, state, {"pixels": HELD_OUT[0]["pixels"]})
    check_moving(0.0, ["pixels"])


def test_random_weights_begin_with_a_small_variance(stage):
    flat = dataclasses.replace(SIZES, multipliers=(1,), temporal_downsample=())
    made = setup({VAE: dataclasses.replace(network("vae"), config=flat)}, optimiser=QUICK)
    trained = VAEStage(made, VAESettings(log_variance=-3.0), held_out=tuple).start().networks[VAE]
    for vae in (trained.weights, trained.average):
        bias = np.asarray(vae.to_moments.bias[...])
        np.testing.assert_array_equal(bias, [0.0] * SIZES.channels + [-3.0] * SIZES.channels)
    # weights of a folder stay as they are
    assert not np.any(np.asarray(stage.start().networks[VAE].weights.to_moments.bias[...]) == SETTINGS.log_variance)
