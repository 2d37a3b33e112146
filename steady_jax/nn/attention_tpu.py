"""Attention on TPU: the Pallas splash kernel that ships with JAX, fed with padded lengths and segment ids.

The kernel wants lengths that its blocks divide, and it knows no prefix. So queries and keys are padded, and segment ids
tell who sees whom: queries and the first `valid_tokens` keys are segment 0, all other keys are segment 1.
"""

import jax.numpy as jnp

from steady_jax.shapes import Array, Float, Int

LANES = 128  # a block is a multiple of the TPU's vector lanes
LARGEST_BLOCK = 512  # tokens; a float32 tile of 512 x 512 scores is 1 MiB of VMEM


def splash(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    valid_tokens: Int[Array, ""] | int | None = None,
    interpret: bool = False,
) -> Float[Array, "b t n h"]:
    """Attention of every query to the first `valid_tokens` keys, for heads of any width, differentiable once.

    The kernel runs on one device: a program for several calls this inside `jax.shard_map(..., check_vma=False)`.

    Args:
        q: queries.
        k: keys in q's dtype.
        v: values in q's dtype.
        valid_tokens: how many keys take part; None: all of them.
        interpret: run the kernel as plain JAX, on any platform.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention  # here, for platforms that cannot import it

    items, queries, heads, width = q.shape
    block_q, padded_q = blocked(queries)
    block_kv, padded_kv = blocked(k.shape[1])
    # All heads of all items share one prefix, so items are heads to the kernel. FullMask is lazy: no array of t x s.
    mask = splash_attention.MultiHeadMask([splash_attention.FullMask((padded_q, padded_kv))] * (items * heads))
    sizes = splash_attention.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    kernel = splash_attention.make_splash_mha_single_device(mask, block_sizes=sizes, interpret=interpret)
    behind = jnp.arange(padded_kv) >= (k.shape[1] if valid_tokens is None else valid_tokens)
    segments = splash_attention.SegmentIds(q=jnp.zeros(padded_q, jnp.int32), kv=behind.astype(jnp.int32))
    scaled = (q.astype(jnp.float32) * width**-0.5).astype(q.dtype)  # the kernel does not scale
    out = kernel(_padded_heads(scaled, padded_q), _padded_heads(k, padded_kv), _padded_heads(v, padded_kv), segments)
    return out.reshape(items, heads, padded_q, width)[:, :, :queries].swapaxes(1, 2)


def blocked(tokens: int) -> tuple[int, int]:
    """Returns the tokens of one block and of all blocks: equal blocks, as few and then as small as the limits allow."""
    blocks = -(-tokens // LARGEST_BLOCK)
    block = -(-tokens // (blocks * LANES)) * LANES
    return block, block * blocks


def _padded_heads(x: Float[Array, "b t n h"], length: int) -> Float[Array, "bn length h"]:
    items, tokens, heads, width = x.shape
    merged = x.swapaxes(1, 2).reshape(items * heads, tokens, width)
    return jnp.pad(merged, ((0, 0), (0, length - tokens), (0, 0)))
