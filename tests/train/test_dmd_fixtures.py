"""Losses and gradients of the published distillation, on its own weights and noise."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from helpers_convert import dit_from_torch

from converters import table, wan_dit
from steady_jax import parameters
from steady_jax.train import losses, scores

CASES = ["t500", "t120", "t3", "t999", "batch2_t500_t120"]
SCORE_SHIFT = 8.0  # the published score networks look their sigma up in the schedule of this shift
RELATIVE = 1e-4


class Published:
    """The published networks, inputs and one case's noise levels."""

    def __init__(self, numbers):
        self.numbers, self.config = numbers, numbers.meta["config"]
        self.fake, self.real = (self._network(name) for name in ("fake_score", "real_score"))

    def of(self, case):
        levels = [int(level) for level in re.findall(r"t(\d+)", case)]
        items = slice(len(levels))
        x0, noise = (self.latents(f"in:{name}")[items] for name in ("latent", "noise"))
        entries = jnp.array(levels)
        by = scores.noising(noise, entries, self.config["timestep_shift"], SCORE_SHIFT)
        cond, uncond = (jnp.asarray(self.numbers[f"in:{name}"])[items] for name in ("cond", "uncond"))
        return x0, by, cond, uncond

    def latents(self, name):
        return rearrange(jnp.asarray(self.numbers[name]), "b f c h w -> b f h w c")

    def gradient(self, x0, by, cond, uncond):
        xt = scores.noisy(x0, by)
        fake = scores.score(self.fake, xt, by, self.fake.encode_prompt(cond))
        prompts = (self.real.encode_prompt(text) for text in (cond, uncond))
        real = scores.guided_score(self.real, xt, by, *prompts, self.config["guidance_scale"])
        return losses.distribution_matching_gradient(x0, fake, real)

    def _network(self, name):
        prefix = f"{name}."
        weights = {
            key.removeprefix(prefix): value for key, value in self.numbers.parameters.items() if key.startswith(prefix)
        }
        return dit_from_torch(weights, self.config)


@pytest.fixture(scope="module")
def dmd(published):
    return Published(published("dmd_tiny"))


@pytest.mark.fixtures
@pytest.mark.parametrize("case", CASES)
def test_generator_gradient_and_loss(dmd, case):
    x0, by, cond, uncond = dmd.of(case)
    np.testing.assert_allclose(by.timesteps, dmd.numbers[f"out:gen_{case}_timestep"][:, 0], rtol=1e-6)
    gradient = jax.jit(dmd.gradient)(x0, by, cond, uncond)
    close(gradient, dmd.latents(f"out:gen_{case}_grad"))
    loss, slope = jax.value_and_grad(losses.distribution_matching_loss)(x0, gradient)
    np.testing.assert_allclose(loss, dmd.numbers[f"out:gen_{case}_loss"], rtol=RELATIVE)
    close(slope, dmd.latents(f"out:gen_{case}_dloss_dlatent"))


@pytest.mark.fixtures
def test_what_the_score_networks_say(dmd):
    x0, by, cond, uncond = dmd.of("t500")
    xt = scores.noisy(x0, by)
    close(xt, dmd.latents("out:gen_t500_noisy"))
    close(scores.velocity(dmd.fake, xt, by, dmd.fake.encode_prompt(cond)), dmd.latents("out:gen_t500_flow_fake"))
    for network, text, name in (
        (dmd.fake, cond, "fake"),
        (dmd.real, cond, "real_cond"),
        (dmd.real, uncond, "real_uncond"),
    ):
        close(scores.score(network, xt, by, network.encode_prompt(text)), dmd.latents(f"out:gen_t500_pred_{name}"))


@pytest.mark.fixtures
def test_frames_that_do_not_count(dmd):
    x0, by, cond, uncond = dmd.of("t500")
    gradient = dmd.gradient(x0, by, cond, uncond)
    counted = jnp.arange(x0.shape[1]) >= dmd.config["num_frame_per_block"]
    loss, slope = jax.value_and_grad(losses.distribution_matching_loss)(x0, gradient, counted)
    np.testing.assert_allclose(loss, dmd.numbers["out:gen_t500_mask_first_block_loss"], rtol=RELATIVE)
    close(slope, dmd.latents("out:gen_t500_mask_first_block_dloss_dlatent"))


@pytest.mark.fixtures
def test_rewards_weigh_items(dmd, published):
    numbers = published("redmd_tiny")
    x0, by, cond, uncond = dmd.of("t500")
    gradient = dmd.gradient(x0, by, cond, uncond)
    for row, beta in enumerate(numbers["in:beta"]):
        for column, reward in enumerate(numbers["in:reward_MQ"]):
            weights = losses.reward_weights(jnp.array([reward]), float(beta))
            loss, slope = jax.value_and_grad(losses.distribution_matching_loss)(x0, gradient, weights=weights)
            np.testing.assert_allclose(loss, numbers["out:loss_beta_x_reward"][row, column], rtol=RELATIVE)
            if beta == 2:
                close(
                    slope, rearrange(jnp.asarray(numbers["out:dloss_dlatent_beta2"][column]), "b f c h w -> b f h w c")
                )


def test_each_item_has_its_own_reward():
    rng = np.random.default_rng(0)
    x0, gradient = (jnp.asarray(rng.standard_normal((2, 3, 2, 2, 4)), jnp.float32) for _ in range(2))
    weights = losses.reward_weights(jnp.array([0.0, 1.0]), 2.0)
    slope = jax.grad(losses.distribution_matching_loss)(x0, gradient, weights=weights)
    plain = jax.grad(losses.distribution_matching_loss)(x0, gradient)
    np.testing.assert_allclose(slope[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(slope[1], plain[1] * np.exp(2.0), rtol=1e-5)


@pytest.mark.fixtures
@pytest.mark.parametrize("case", CASES)
def test_critic_loss_and_gradient(dmd, case):
    x0, by, cond, _ = dmd.of(case)

    def loss_of(critic):
        return scores.critic_loss(critic, x0, by, critic.encode_prompt(cond))

    loss, gradients = jax.jit(jax.value_and_grad(loss_of))(dmd.fake)
    np.testing.assert_allclose(loss, dmd.numbers[f"out:critic_{case}_loss"], rtol=RELATIVE)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients)))
    np.testing.assert_allclose(norm, dmd.numbers[f"out:critic_{case}_grad_l2norm"], rtol=RELATIVE)
    if case == "t500":
        rules = wan_dit.tables(dmd.fake.config)["original"]
        arrays = {name: np.asarray(leaf) for name, leaf in parameters.named(gradients).items()}
        tensors = dict(table.to_torch(rules, arrays))
        for name in dmd.numbers.meta["critic_grad_params"]:
            close(tensors[name], dmd.numbers[f"out:critic_t500_grad:{name}"])


def test_what_is_not_finite_becomes_zero():
    x0 = jnp.ones((2, 3, 2, 2, 4))
    fake = x0.at[1].add(1.0)
    gradient = losses.distribution_matching_gradient(x0, fake, x0)  # the distance to the real score is 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(x0))


def close(ours, published):
    """Relative to the largest number: 1e-4 absolute would pass wrong gradients."""
    difference = np.abs(np.asarray(ours) - np.asarray(published)).max()
    assert difference <= RELATIVE * np.abs(np.asarray(published)).max()
