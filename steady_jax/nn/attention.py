"""Attention over a prefix of keys: softmax(q k^T / sqrt(h)) v."""

import jax
import jax.numpy as jnp

from steady_jax.shapes import Array, Float, Int


def attention(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    *,
    valid_tokens: Int[Array, ""] | int | None = None,
    backend: str = "auto",
) -> Float[Array, "b t n h"]:
    """Attention of every query to the first `valid_tokens` keys (all of them if None)."""
    if backend not in ("auto", "xla"):
        raise ValueError(f"unknown attention backend {backend!r}, the known ones are: auto, xla")
    scores = jnp.einsum("btnh,bsnh->bnts", q, k, preferred_element_type=jnp.float32) / q.shape[-1] ** 0.5
    if valid_tokens is not None:
        scores = jnp.where(jnp.arange(k.shape[1]) < valid_tokens, scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, v.astype(jnp.float32)).astype(q.dtype)
