"""What critic and teacher say of latents: make them noisy, ask for the velocity, go back to x0."""

import dataclasses
import typing

import jax
import jax.numpy as jnp

from steady_jax.diffusion.flow_matching import TIMESTEPS, add_noise, nearest_sigma, score_timesteps, x0_from_velocity
from steady_jax.models.wan_dit import PromptKV, WanDiT
from steady_jax.shapes import Array, Float, Int, Latents
from steady_jax.train.losses import critic_velocity, flow_matching_loss, guided, per_item


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Noising:
    """How latents are made noisy for the score networks: one level per item, the same for all its frames."""

    noise: Latents
    timesteps: Float[Array, "b"]  # that the networks are told
    sigma_noise: Float[Array, "b"]  # with which the latents are made noisy
    sigma_score: Float[Array, "b"]  # by which a velocity is turned into x0


def noising(noise: Latents, entries: Int[Array, "b"], shift: float, score_shift: float | None = None) -> Noising:
    """The noise levels of schedule entries 0..999.

    Args:
        score_shift: the schedule that sigma_score is looked up in (8 in the published code); None: the same sigma
            makes noisy and goes back.
    """
    timesteps = score_timesteps(entries, shift)
    sigma = nearest_sigma(timesteps, shift)
    return Noising(noise, timesteps, sigma, sigma if score_shift is None else nearest_sigma(timesteps, score_shift))


def draw_noising(key: Array, like: Latents, shift: float) -> Noising:
    """Fresh noise, and a level for each item, even over the schedule before its shift."""
    of_noise, of_levels = jax.random.split(key)
    noise = jax.random.normal(of_noise, like.shape)
    return noising(noise, jax.random.randint(of_levels, like.shape[:1], 0, TIMESTEPS), shift)


def noisy(x0: Latents, by: Noising) -> Latents:
    """The latents that the score networks get."""
    return add_noise(x0, by.noise, per_item(by.sigma_noise))


def velocity(dit: WanDiT, xt: Latents, by: Noising, prompt: PromptKV) -> Latents:
    """A score network's velocity of whole clips."""
    return dit(xt, jnp.broadcast_to(by.timesteps[:, None], xt.shape[:2]), prompt)


def score(dit: WanDiT, xt: Latents, by: Noising, prompt: PromptKV) -> Latents:
    """A score network's x0 of whole clips."""
    return x0_from_velocity(xt, velocity(dit, xt, by, prompt), per_item(by.sigma_score))


def guided_score(
    teacher: WanDiT, xt: Latents, by: Noising, prompt: PromptKV, unconditional: PromptKV, scale: float
) -> Latents:
    """The teacher's x0, steered towards the prompt and away from the unconditional one."""
    return guided(score(teacher, xt, by, prompt), score(teacher, xt, by, unconditional), scale)


def critic_loss(critic: WanDiT, x0: Latents, by: Noising, prompt: PromptKV) -> Float[Array, ""]:
    """Flow matching of the critic on what the generator makes."""
    xt = noisy(x0, by)
    predicted = critic_velocity(velocity(critic, xt, by, prompt), by.sigma_noise, by.sigma_score)
    return flow_matching_loss(predicted, x0, by.noise)
