"""Weights of a loss where the data know what moves: motion is a small part of a clip, and is the first to be lost.

    w = (1 + v m) / mean (1 + v m)                                             (1)

m is 1 where anything in a clip may move and 0 elsewhere. The mean is that of each clip, so every clip counts the same,
and v shifts weight from what is still to what moves without changing how the loss stands to its other parts.
"""

from collections.abc import Iterable

import jax.numpy as jnp
from einops import reduce

from steady_jax.shapes import Array, Bool, Float

MOVING = "moving"  # of a batch: m of equation (1), of pixels or as a share of each latent's pixels


def check_moving(weight: float, keys: Iterable[str]) -> None:
    """Raises ValueError if items with these keys cannot be weighed with v = `weight`."""
    if weight and MOVING not in keys:
        raise ValueError(
            f"moving {weight} weighs what is known to move, and the data have no {MOVING!r}; set it to 0, or take data "
            "that know what moves, such as nature_flow"
        )


def moving_weights(moving: Bool[Array, "b h w"] | Float[Array, "b h w"], weight: float) -> Float[Array, "b h w"]:
    """Equation (1), with v = `weight`."""
    weights = 1 + weight * moving.astype(jnp.float32)
    return weights / jnp.mean(weights, axis=(1, 2), keepdims=True)


def moving_share(
    moving: Bool[Array, "b height width"] | Float[Array, "b height width"], rows: int, columns: int
) -> Float[Array, "b {rows} {columns}"]:
    """Of pixels to latents: the share of each latent's pixels that may move."""
    return reduce(moving.astype(jnp.float32), "b (h p) (w q) -> b h w", "mean", h=rows, w=columns)
