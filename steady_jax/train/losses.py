"""Losses of all stages: arrays in, a number out. Means run over items, frames, rows, columns and channels.

Flow matching (velocity = noise - x0), of the teacher and of the critic:

    L = mean (predicted velocity - (noise - x0))^2                            (1)

Distribution matching (Yin et al., arXiv 2311.18828), with x0 made by the generator, and x0_fake and x0_real what critic
and teacher make of it once it is noisy:

    x0_real = conditional + g * (conditional - unconditional)                 (2)
    gradient = (x0_fake - x0_real) / mean |x0 - x0_real|                      (3) the mean over each item
    L = mean (x0 - stop(x0 - gradient))^2 / 2                                 (4)

Source: Self-Forcing (arXiv 2506.08009); weights per item: Reward-Forcing.
"""

import jax
import jax.numpy as jnp

from steady_jax.shapes import Array, Bool, Float, Latents


def flow_matching_loss(
    velocity: Latents, x0: Latents, noise: Latents, weights: Float[Array, "b _ h w 1"] | None = None
) -> Float[Array, ""]:
    """Equation (1), each square times its weight where weights are given."""
    squares = jnp.square(velocity - (noise - x0))
    return jnp.mean(squares if weights is None else squares * weights)


def critic_velocity(velocity: Latents, sigma_noise: Float[Array, "b"], sigma_score: Float[Array, "b"]) -> Latents:
    """The critic's velocity after it went to an x0 by `sigma_score` and back by `sigma_noise`.

    With one sigma for both, as in our own training, it is the velocity itself; the published training took them from
    the tables of two shifts.

    Args:
        sigma_noise: with which the latents were made noisy.
        sigma_score: by which a velocity is turned into x0.
    """
    return velocity * per_item(sigma_score / sigma_noise)


def guided(conditional: Latents, unconditional: Latents, scale: float) -> Latents:
    """Equation (2). A scale g is what image generators call a guidance of g + 1."""
    return conditional + scale * (conditional - unconditional)


def distribution_matching_gradient(x0: Latents, x0_fake: Latents, x0_real: Latents) -> Latents:
    """Equation (3); what is not finite becomes 0, as where an item's x0_real is x0 exactly."""
    distance = jnp.mean(jnp.abs(x0 - x0_real), axis=(1, 2, 3, 4))
    return jnp.nan_to_num((x0_fake - x0_real) / per_item(distance), nan=0.0, posinf=0.0, neginf=0.0)


def distribution_matching_loss(
    x0: Latents,
    gradient: Latents,
    counted: Bool[Array, "f"] | None = None,
    weights: Float[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Equation (4). Its derivative by x0 is the gradient divided by the number of elements it is a mean of.

    Args:
        gradient: from `distribution_matching_gradient`.
        counted: the frames that the mean runs over; None: all.
        weights: by which each item's loss is multiplied (Re-DMD), see `reward_weights`; None: 1.
    """
    squares = jnp.square(x0 - jax.lax.stop_gradient(x0 - gradient)) / 2
    of_frames = jnp.mean(squares, axis=(2, 3, 4))
    counted = jnp.ones(x0.shape[1], bool) if counted is None else counted
    of_items = jnp.sum(of_frames * counted, axis=1) / jnp.sum(counted)
    return jnp.mean(of_items if weights is None else of_items * jax.lax.stop_gradient(weights))


def reward_weights(rewards: Float[Array, "b"], beta: float) -> Float[Array, "b"]:
    """exp(beta * reward) of each item: items that move well count more."""
    return jnp.exp(beta * rewards)


def regression_loss(x0: Latents, target: Latents, counted: Bool[Array, "b"]) -> Float[Array, ""]:
    """Mean square over the items that count; 0 if none does."""
    of_items = jnp.mean(jnp.square(x0 - target), axis=(1, 2, 3, 4))
    return jnp.sum(of_items * counted) / jnp.maximum(jnp.sum(counted), 1)


def per_item(values: Float[Array, "b"]) -> Float[Array, "b 1 1 1 1"]:
    """One number per item, beside latents."""
    return values[:, None, None, None, None]
