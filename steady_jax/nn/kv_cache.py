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

from steady_jax import parallel
from steady_jax.nn.attention import attention
from steady_jax.nn.rope import Rotation, rotate
from steady_jax.parallel import constrain
from steady_jax.shapes import Array, Float, Int


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of past frames, all layers stacked; or of one layer's block, without the axis l."""

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
    q: Float[Array, "b f t n h"],
    k: Float[Array, "b f t n h"],
    v: Float[Array, "b f t n h"],
    cache: KVCache,
    layer: Int[Array, ""],
    view: CacheView,
    backend: str,
) -> tuple[Float[Array, "b f t n h"], KVCache]:
    """Attends from a block to one layer's buffer with the block's own keys and values in their place.

    Args:
        q, k, v: of t tokens in each of the block's f frames.
        layer: which one of the buffer.
    Returns: the attention output, and the block's keys and values as they would be stored, of this one layer.
    """
    k = k if view.stored is None else rotate(k, view.stored)
    k, v = k.astype(cache.k.dtype), v.astype(cache.v.dtype)
    tokens, heads = q.shape[2:4]

    def local(q: Array, k: Array, v: Array, keys: Array, values: Array, start: Array, read: Rotation | None) -> Array:
        keys = _with_block(keys, parallel.all_tokens(k, tokens), start)
        values = _with_block(values, parallel.all_tokens(v, tokens), start)
        keys = keys if read is None else rotate(keys, read)
        return attention(q, keys, values, valid_tokens=start + q.shape[1] * tokens, backend=backend)

    past = (_layer(buffer, layer, heads) for buffer in (cache.k, cache.v))
    out = parallel.per_device(
        local,
        (rotate(q, view.query), k, v, *past, view.start, view.read),
        ("b f t n h", "b f t n h", "b f t n h", "b s n h", "b s n h", "", ""),
    )
    return out, KVCache(_merged(k), _merged(v))


def store(cache: KVCache, block: KVCache, layer: Int[Array, ""], start: Int[Array, ""]) -> KVCache:
    """Writes a block's keys and values (see `attend`) into one layer, in place where the caller donates the buffer."""

    def write(buffer: Array, block: Array) -> Array:
        written = jax.lax.dynamic_update_slice(buffer, block[None], (layer, 0, start, 0))
        return constrain(written, "l b s d")

    return KVCache(write(cache.k, block.k), write(cache.v, block.v))


def _layer(buffer: Float[Array, "l b s d"], layer: Int[Array, ""], heads: int) -> Float[Array, "b s n h"]:
    """One layer's keys or values, split into heads."""
    one = constrain(jax.lax.dynamic_index_in_dim(buffer, layer, keepdims=False), "b s d")
    return rearrange(one, "b s (n h) -> b s n h", n=heads)


def _with_block(past: Float[Array, "b s n h"], block: Float[Array, "b f t n h"], start: Int[Array, ""]) -> Array:
    """One layer's keys or values with the block's in their place."""
    merged = rearrange(past, "b s n h -> b s (n h)")
    merged = jax.lax.dynamic_update_slice_in_dim(merged, rearrange(block, "b f t n h -> b (f t) (n h)"), start, axis=1)
    return merged.reshape(past.shape)


def _merged(x: Float[Array, "b f t n h"]) -> Float[Array, "b s d"]:
    """Keys or values of a block as the buffer holds them."""
    framed = constrain(rearrange(x, "b f t n h -> b f t (n h)"), "b f t e")
    framed = constrain(framed, "b f s d")  # while frames are apart, as their tokens are cut
    return constrain(rearrange(framed, "b f t d -> b (f t) d"), "b s d")


def zeros(layers: int, batch: int, tokens: int, width: int, dtype: str) -> KVCache:
    """An empty buffer of `tokens` = slots * tokens per frame."""
    shape = (layers, batch, tokens, width)
    return KVCache(*(constrain(jnp.zeros(shape, dtype), "l b s d") for _ in range(2)))
