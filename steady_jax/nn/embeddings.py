"""The sinusoid that tells a network its timestep."""

import jax.numpy as jnp

from steady_jax.nn.rope import angles, frequencies
from steady_jax.shapes import Array, Float


def sinusoid(timesteps: Float[Array, "*shape"], width: int) -> Float[Array, "*shape width"]:
    """cos | sin of t * 10000^(-i / (width/2)) for t in 0..1000, within 2e-6 of float64.

    The whole part of t is turned exactly (see rope.angles); the fraction is small enough for float32.
    """
    whole = jnp.floor(timesteps)
    fraction = (timesteps - whole)[..., None] * frequencies(width // 2).astype("float32")
    angle = angles(whole.astype(jnp.int32), width // 2) + fraction
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
