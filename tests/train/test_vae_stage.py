import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import VAE as SIZES
from helpers_stages import copied, network, setup

from steady_jax import checkpoint
from steady_jax.models.wan_vae import VAEConfig, WanVAE
from steady_jax.pixels import from_uint8
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.stages.vae import VAE, VAESettings, VAEStage

pytestmark = pytest.mark.usefixtures("compiled_quickly")

BATCH, FRAMES, SIZE = 2, 3, 16  # pixel frames, rows and columns
# the average moves at once, so that a few updates show in it
QUICK = OptimiserSettings(1e-2, b1=0.9, clip=1.0, average=0.1)


def clips(seed):
    """A bright square on a ramp: something that can be learnt."""
    rng = np.random.default_rng(seed)
    pixels = np.tile(np.linspace(0, 200, SIZE), (BATCH, FRAMES, SIZE, 1))[..., None].repeat(3, -1)
    for item in range(BATCH):
        row, column = rng.integers(0, SIZE // 2, 2)
        pixels[item, :, row : row + 8, column : column + 8] = 255
    return {"pixels": jnp.asarray(pixels.astype(np.uint8))}


HELD_OUT = [clips(100), clips(101)]


@pytest.fixture(scope="module")
def stage(model):
    made = setup({VAE: network("vae", model(0))}, optimiser=QUICK)
    return VAEStage(made, VAESettings(), held_out=lambda: iter(HELD_OUT), samples=1)


@pytest.fixture(scope="module")
def trained(stage):
    """The state after 20 steps, and the losses of all steps."""
    state, losses = stage.start(), []
    for step in range(20):
        state, metrics = stage.train_step(step, state, clips(step))
        losses.append({name: float(value) for name, value in metrics.items()})
    return state, losses


def test_it_learns(stage, trained):
    state, losses = trained
    assert np.mean([one["loss"] for one in losses[-5:]]) < 0.8 * np.mean([one["loss"] for one in losses[:5]])
    before, after = stage.held_out(stage.start()), stage.held_out(state)
    assert after["loss"] < before["loss"]
    assert after["psnr"] > before["psnr"]
    assert after == stage.held_out(state)


def test_the_loss_is_the_sum_of_its_parts(trained):
    for one in trained[1]:
        total = one["l1"] + VAESettings().gradient * one["gradient_l1"] + VAESettings().kl * one["kl"]
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
    with pytest.raises(ValueError, match=r"must not be negative, got gradient -1 and kl 0\.0"):
        VAESettings(-1, 0.0)
