"""Attention on TPU: the Pallas splash kernel that ships with JAX, fed with padded lengths and segment ids.

The kernel wants lengths that its blocks divide, and it has no prefix length. So queries and keys are padded, and segment ids
tell who sees whom: every query and the first `valid_tokens` keys are segment 0, all other keys are segment 1.
"""

import jax
import jax.numpy as jnp

from steady_jax.shapes import Array, Float, Int

LANES = 128  # a block is a multiple of the TPU's vector lanes
LARGEST_BLOCK = (
    512  # tokens; forward and backward with float32 score tiles of this size squared fit VMEM at all widths we use
)


def splash(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s n h"],
    v: Float[Array, "b s n h"],
    valid_tokens: Int[Array, ""] | int,
    interpret: bool = False,
) -> Float[Array, "b t n h"]:
    """Attention of every query to the first `valid_tokens` keys; `interpret` runs the kernel as plain JAX, on any platform."""
    from jax.experimental.pallas.ops.tpu import splash_attention  # here: other platforms need not be able to import it

    items, queries, heads, width = q.shape
    block_q, padded_q = block_and_padded_length(queries)
    block_kv, padded_kv = block_and_padded_length(k.shape[1])
    # All heads of all items share one mask and one prefix, so items are heads to the kernel. FullMask is lazy: no t x s array.
    mask = splash_attention.MultiHeadMask([splash_attention.FullMask((padded_q, padded_kv))] * (items * heads))
    kernel = splash_attention.make_splash_mha_single_device(
        mask,
        block_sizes=splash_attention.BlockSizes(
            block_q=block_q,
            block_kv=block_kv,
            block_q_dkv=block_q,
            block_kv_dkv=block_kv,
            block_q_dq=block_q,
            block_kv_dq=block_kv,
        ),
        interpret=interpret,
    )
    segments = splash_attention.SegmentIds(
        q=jnp.zeros(padded_q, jnp.int32), kv=(jnp.arange(padded_kv) >= valid_tokens).astype(jnp.int32)
    )
    scaled = (q.astype(jnp.float32) * width**-0.5).astype(q.dtype)  # the kernel does not scale
    out = kernel(_padded_heads(scaled, padded_q), _padded_heads(k, padded_kv), _padded_heads(v, padded_kv), segments)
    return out.reshape(items, heads, padded_q, width)[:, :, :queries].swapaxes(1, 2)


def block_and_padded_length(tokens: int) -> tuple[int, int]:
    """Equal blocks, as few as `LARGEST_BLOCK` allows and as small as `LANES` allows: (tokens of a block, tokens of all)."""
    blocks = -(-tokens // LARGEST_BLOCK)
    block = -(-tokens // (blocks * LANES)) * LANES
    return block, block * blocks


def _padded_heads(x: Float[Array, "b t n h"], length: int) -> Float[Array, "bn length h"]:
    items, tokens, heads, width = x.shape
    merged = x.swapaxes(1, 2).reshape(items * heads, tokens, width)
    return jnp.pad(merged, ((0, 0), (0, length - tokens), (0, 0)))
