"""The key/value buffer of a causal network, and how one layer reads it.

The buffer holds `slots` frames per layer. While a block is in work its own keys and values stand right behind the
filled slots, so attention reads a prefix. The buffer itself changes only when a block is committed, by slices written
in place.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from einops import rearrange

from steady_jax.nn.attention import attention
from steady_jax.nn.rope import Rotation, rotate
from steady_jax.shapes import Array, Float, Int


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of past frames, all layers stacked."""

    k: Float[Array, "l b s d"]  # heads side by side: a last axis of full width needs no padding on a TPU
    v: Float[Array, "l b s d"]


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CacheView:
    """Where a block stands in the buffer, and how keys and queries turn. The same for all layers and all calls of the
    block.
    """

    start: Int[Array, ""]  # token at which the block's own keys and values stand; its keys reach to start + t
    query: Rotation  # of the block's queries
    stored: Rotation | None  # of the block's keys before they are stored; None: stored unrotated
    read: Rotation | None  # of all keys of the buffer when read; None: read as stored


def attend(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b t n h"],
    v: Float[Array, "b t n h"],
    cache: KVCache,
    layer: Int[Array, ""],
    view: CacheView,
    backend: str,
) -> tuple[Float[Array, "b t n h"], tuple[Float[Array, "b t n h"], Float[Array, "b t n h"]]]:
    """Attends from a block to one layer's buffer with the block's own keys and values in their place.

    Returns: the attention output, and the block's keys and values as they would be stored.
    """
    k = k if view.stored is None else rotate(k, view.stored)
    k, v = k.astype(cache.k.dtype), v.astype(cache.v.dtype)
    keys = _with_block(cache.k, k, layer, view.start)
    values = _with_block(cache.v, v, layer, view.start)
    keys = keys if view.read is None else rotate(keys, view.read)
    valid_tokens = view.start + q.shape[1]
    out = attention(rotate(q, view.query), keys, values, valid_tokens=valid_tokens, backend=backend)
    return out, (k, v)


def store(
    cache: KVCache, k: Float[Array, "b t n h"], v: Float[Array, "b t n h"], layer: Int[Array, ""], start: Int[Array, ""]
) -> KVCache:
    """Writes a block's keys and values into one layer, in place where the caller donates the buffer."""

    def write(buffer: Array, block: Array) -> Array:
        merged = rearrange(block, "b t n h -> 1 b t (n h)")
        return jax.lax.dynamic_update_slice(buffer, merged, (layer, 0, start, 0))

    return KVCache(write(cache.k, k), write(cache.v, v))


def _with_block(buffer: Array, block: Array, layer: Int[Array, ""], start: Int[Array, ""]) -> Array:
    """One layer's keys or values with the block's in their place, split into heads."""
    one = jax.lax.dynamic_index_in_dim(buffer, layer, keepdims=False)
    one = jax.lax.dynamic_update_slice_in_dim(one, rearrange(block, "b t n h -> b t (n h)"), start, axis=1)
    return rearrange(one, "b s (n h) -> b s n h", n=block.shape[2])


def zeros(layers: int, batch: int, tokens: int, width: int, dtype: str) -> KVCache:
    """An empty buffer of `tokens` = slots * tokens per frame."""
    shape = (layers, batch, tokens, width)
    return KVCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
