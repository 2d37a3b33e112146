"""Attention on CPU: online softmax over chunks of keys, for a few heads at a time, so that scores stay in the cache.

With the scores s_j of one query and a chunk of keys, the running maximum m, sum z and output o become

    (1) m' = max(m, max_j s_j)
    (2) z' = exp(m - m') z + sum_j exp(s_j - m')
    (3) o' = exp(m - m') o + sum_j exp(s_j - m') v_j

and the result is o / z. The backward pass makes the scores again from the saved m + log(z), chunk by chunk, so that its
memory does not grow with t x s either. Chunks behind the valid prefix cost nothing.

Source: Milakov and Gimelshein, arXiv 1805.02867, algorithm 3; Dao et al., arXiv 2205.14135, algorithms 1 and 4.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from steady_jax.shapes import Array, Float, Int

LARGEST_CHUNK = 512  # keys
LARGEST_TILE = 2**21  # scores at a time; float32, so 8 MiB


def chunked(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    valid_tokens: Int[Array, ""] | int | None = None,
) -> Float[Array, "b t n h"]:
    """Attention of every query to the first `valid_tokens` keys. Reverse-mode differentiable, once."""
    return _attend(q, k, v, jnp.asarray(k.shape[1] if valid_tokens is None else valid_tokens, jnp.int32))


@dataclasses.dataclass(frozen=True)
class _Tiling:
    """How the work is cut. A tile has the heads and items of one group in front: [g, tokens, h]."""

    items: int  # of the batch, in one group
    heads: int  # in one group
    head_groups: int
    groups: int  # head_groups for every part of the batch
    chunk: int  # keys
    chunks: int

    @classmethod
    def of(cls, q: Array, k: Array) -> "_Tiling":
        items, queries, heads, _ = q.shape
        chunks = -(-k.shape[1] // LARGEST_CHUNK)
        chunk = -(-k.shape[1] // chunks)
        fitting = max(1, LARGEST_TILE // (queries * chunk))  # heads
        if items * heads <= fitting:
            return cls(items, heads, 1, 1, chunk, chunks)
        together = max(count for count in range(1, heads + 1) if heads % count == 0 and count <= fitting)
        return cls(1, together, heads // together, items * (heads // together), chunk, chunks)

    def used_chunks(self, valid_tokens: Array) -> Array | int:
        return 1 if self.chunks == 1 else -(-valid_tokens // self.chunk)

    def read(self, x: Array, group: Array | int, start: Array | int, tokens: int) -> Array:
        """Takes the tile [g, tokens, h] out of x [b, tokens, n, h], in float32: softmax and its sums need it."""
        sizes = (self.items, tokens, self.heads, x.shape[-1])
        part = lax.dynamic_slice(x, self._corner(group, start), sizes).astype(jnp.float32)
        return part.swapaxes(1, 2).reshape(-1, tokens, x.shape[-1])

    def write(self, x: Array, tile: Array, group: Array | int, start: Array | int) -> Array:
        """Undoes `read`."""
        part = tile.reshape(self.items, self.heads, *tile.shape[1:]).swapaxes(1, 2)
        return lax.dynamic_update_slice(x, part.astype(x.dtype), self._corner(group, start))

    def add(self, x: Array, tile: Array, group: Array | int, start: Array | int) -> Array:
        return self.write(x, self.read(x, group, start, tile.shape[1]) + tile, group, start)

    def _corner(self, group: Array | int, start: Array | int) -> tuple:
        return group // self.head_groups, start, group % self.head_groups * self.heads, 0


class _Chunk(NamedTuple):
    """One chunk of keys and values. The last chunk starts early enough to be whole; what it repeats takes no part."""

    start: Array  # in tokens
    use: Array  # [chunk], 1.0 for keys that take part, 0.0 for others
    k: Array  # [g, chunk, h]; the first key of all in place of those that take no part: it cannot raise a maximum
    v: Array  # [g, chunk, h]; zeros in place of those that take no part


def _chunk(tiling: _Tiling, k: Array, v: Array, group: Array | int, number: Array | int, valid_tokens: Array) -> _Chunk:
    start = jnp.minimum(number * tiling.chunk, k.shape[1] - tiling.chunk)
    position = start + jnp.arange(tiling.chunk)
    use = (position >= number * tiling.chunk) & (position < valid_tokens)
    keys, values = (tiling.read(x, group, start, tiling.chunk) for x in (k, v))
    keys = jnp.where(use[:, None], keys, tiling.read(k, group, 0, 1))
    return _Chunk(start, use.astype(jnp.float32), keys, jnp.where(use[:, None], values, 0.0))


def _online_softmax(q: Array, chunk: _Chunk, m: Array, z: Array, o: Array) -> tuple[Array, Array, Array]:
    """Equations 1 to 3 for q and o [g, t, h], m and z [g, t, 1]."""
    scores = jnp.einsum("gth,gsh->gts", q, chunk.k)
    new_m = jnp.maximum(m, scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - new_m)  # of all keys: masking here costs 6 %, so chunk.use and chunk.v leave keys out
    decay = jnp.exp(m - new_m)
    new_z = decay * z + jnp.einsum("gts,s->gt", weights, chunk.use)[..., None]
    return new_m, new_z, decay * o + jnp.einsum("gts,gsh->gth", weights, chunk.v)


def _gradients(q: Array, d_o: Array, log_z: Array, mean: Array, chunk: _Chunk) -> tuple[Array, Array, Array]:
    """What one chunk adds to dq [g, t, h], and its dk and dv [g, chunk, h]."""
    weights = jnp.exp(jnp.einsum("gth,gsh->gts", q, chunk.k) - log_z) * chunk.use
    d_scores = weights * (jnp.einsum("gth,gsh->gts", d_o, chunk.v) - mean)
    dq = jnp.einsum("gts,gsh->gth", d_scores, chunk.k)
    return dq, jnp.einsum("gts,gth->gsh", d_scores, q), jnp.einsum("gts,gth->gsh", weights, d_o)


@jax.custom_vjp
def _attend(q: Array, k: Array, v: Array, valid_tokens: Array) -> Array:
    return _forward(q, k, v, valid_tokens)[0]


def _forward(q: Array, k: Array, v: Array, valid_tokens: Array) -> tuple[Array, tuple]:
    tiling, queries, scale = _Tiling.of(q, k), q.shape[1], q.shape[3] ** -0.5

    def one_group(group: Array | int, results: tuple) -> tuple:
        q_tile = tiling.read(q, group, 0, queries) * scale

        def one_chunk(number: Array | int, running: tuple) -> tuple:
            return _online_softmax(q_tile, _chunk(tiling, k, v, group, number, valid_tokens), *running)

        column = q_tile[..., :1]
        start = (jnp.full_like(column, -jnp.inf), jnp.zeros_like(column), jnp.zeros_like(q_tile))
        m, z, o = _loop(tiling.used_chunks(valid_tokens), one_chunk, start)
        out, log_z = results
        return tiling.write(out, o / z, group, 0), tiling.write(log_z, m + jnp.log(z), group, 0)

    empty = (jnp.zeros_like(q), jnp.zeros((*q.shape[:3], 1), jnp.float32))
    out, log_z = _loop(tiling.groups, one_group, empty)
    return out, (q, k, v, valid_tokens, out, log_z)


def _backward(saved: tuple, d_out: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, valid_tokens, out, log_z = (jnp.asarray(x) for x in saved)  # JAX hands constants back as numpy arrays
    tiling, queries, scale = _Tiling.of(q, k), q.shape[1], q.shape[3] ** -0.5

    def one_group(group: Array | int, gradients: tuple) -> tuple:
        q_tile = tiling.read(q, group, 0, queries) * scale
        o, d_o, log_z_tile = (tiling.read(x, group, 0, queries) for x in (out, d_out, log_z))
        mean = (o * d_o).sum(-1, keepdims=True)

        def one_chunk(number: Array | int, running: tuple) -> tuple:
            dq_tile, dk, dv = running
            chunk = _chunk(tiling, k, v, group, number, valid_tokens)
            dq_part, dk_tile, dv_tile = _gradients(q_tile, d_o, log_z_tile, mean, chunk)
            # Added, for the last chunk repeats keys of the one before, with gradients of zero.
            dk, dv = tiling.add(dk, dk_tile, group, chunk.start), tiling.add(dv, dv_tile, group, chunk.start)
            return dq_tile + dq_part, dk, dv

        dq, dk, dv = gradients
        start = (jnp.zeros_like(q_tile), dk, dv)
        dq_tile, dk, dv = _loop(tiling.used_chunks(valid_tokens), one_chunk, start)
        return tiling.write(dq, dq_tile * scale, group, 0), dk, dv

    empty = (jnp.zeros_like(q), jnp.zeros_like(k), jnp.zeros_like(v))
    return *_loop(tiling.groups, one_group, empty), None


_attend.defvjp(_forward, _backward)


def _loop(count: Array | int, body: Callable, start: tuple) -> tuple:
    """Runs body(0, ...), body(1, ...) and so on; a single round is no loop, which small sizes notice."""
    return body(0, start) if isinstance(count, int) and count == 1 else lax.fori_loop(0, count, body, start)
