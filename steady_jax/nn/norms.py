"""Normalisation, computed in float32 (sums of squares overflow or lose their tail in 16 bits) and returned in x's
dtype.
"""

import jax
import jax.numpy as jnp

from steady_jax.shapes import Array, Float


def rms_norm(x: Float[Array, "... d"], weight: Float[Array, "d"], eps: float) -> Float[Array, "... d"]:
    """weight * x / sqrt(mean(x^2) + eps) over the last axis."""
    wide = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + eps)
    return (wide * scale * weight).astype(x.dtype)


def layer_norm(x: Float[Array, "... d"], eps: float) -> Float[Array, "... d"]:
    """(x - mean) / sqrt(variance + eps) over the last axis, without learned scale; float32, for the modulation that
    follows.
    """
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + eps)
