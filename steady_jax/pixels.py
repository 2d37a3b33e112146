"""Pixels as files and screens have them, uint8, and as networks have them, -1..1."""

import jax.numpy as jnp

from steady_jax.shapes import Array, Float, UInt8


def to_uint8(pixels: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """From -1..1, clamped and rounded."""
    return jnp.round((jnp.clip(pixels.astype(jnp.float32), -1, 1) + 1) * 127.5).astype(jnp.uint8)


def from_uint8(pixels: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """To -1..1, float32."""
    return pixels.astype(jnp.float32) / 127.5 - 1
