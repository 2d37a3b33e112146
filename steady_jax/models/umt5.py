"""The text encoder of Wan2.1: the encoder half of umT5, with a relative-position bias in every layer.

Each layer, before a residual sum each time (RMS norm = x / sqrt(mean(x^2) + eps) * scale):

(1)  x += O softmax(Q K^T + B) V         Q, K, V from RMS norm of x; no 1/sqrt(head width)
(2)  B[query, key] = table[bucket(key - query)], or the lowest float where the key is padding
(3)  x += W2 (gelu(Wg y) * W1 y)         y = RMS norm of x

Source: Chung et al., "UniMax" (arXiv 2304.09151) for umT5; Raffel et al. (arXiv 1910.10683) for the buckets.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from steady_jax.nn.modules import check_dtype, precision_of, stacked
from steady_jax.nn.norms import rms_norm
from steady_jax.shapes import Array, Bool, Float, Int

Mask = Int[Array, "b t"] | Bool[Array, "b t"]  # 1 at tokens, 0 at padding


@dataclasses.dataclass(frozen=True)
class UMT5Config:
    """Sizes of a umT5 encoder. `head_width` is free: the heads together may be wider or narrower than the model."""

    vocabulary: int  # rows of the token table; may exceed what the tokenizer uses
    width: int
    ffn_width: int
    heads: int
    head_width: int
    layers: int
    buckets: int = 32  # of relative positions, half of them for keys after the query
    max_distance: int = 128  # tokens; all positions further away share the last bucket of their side
    eps: float = 1e-6
    dtype: str = "bfloat16"  # of matrix products and activations; parameters keep the type they are filled with

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "ffn_width", "heads", "head_width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"umT5 needs {name} >= 1, got {getattr(self, name)}")
        if self.buckets < 4 or self.buckets % 4:
            raise ValueError(
                f"umT5 halves its buckets twice (before/after, near/far), so their number must be a multiple of 4, "
                f"got buckets={self.buckets}"
            )
        if self.max_distance <= self.buckets // 4:
            raise ValueError(
                f"max_distance must exceed the {self.buckets // 4} distances that have a bucket each "
                f"(buckets/4), got max_distance={self.max_distance}"
            )
        check_dtype(self.dtype)


UMT5_SIZES = {
    "xxl": UMT5Config(vocabulary=256384, width=4096, ffn_width=10240, heads=64, head_width=64, layers=24),
}


def relative_buckets(relative: Int[Array, "*shape"], buckets: int, max_distance: int) -> Int[Array, "*shape"]:
    """Bucket of each relative position: one per near distance, then wider ones, evenly spaced in the logarithm.

    With n = buckets/2 per side and e = n/2 near ones, a far distance r has the bucket
    e + floor((n - e) * log(r/e) / log(max_distance/e)), at most n - 1. It is found by comparing r with the exact first
    distance of every bucket, so no rounding of a logarithm can move a border.

    Args:
        relative: key position minus query position, tokens.
        buckets: of both sides together.
        max_distance: tokens, where the last bucket would end; it takes everything beyond as well.

    Returns:
        0..n-1 for keys at or before the query, n..2n-1 for keys after it.
    """
    side = buckets // 2
    borders = jnp.asarray(_far_borders(side, max_distance), relative.dtype)
    distance = jnp.abs(relative)
    far = side // 2 + jnp.sum(distance[..., None] >= borders, axis=-1, dtype=relative.dtype)
    return jnp.where(relative > 0, side, 0) + jnp.where(distance < side // 2, distance, far)


def _far_borders(side: int, max_distance: int) -> list[int]:
    """First distances of buckets e+1, e+2, ...: the smallest r with (r/e)^m >= (max_distance/e)^k, in integers."""
    near = side // 2
    far = side - near
    return [
        next(r for r in itertools.count(near) if r**far * near**k >= max_distance**k * near**far) for k in range(1, far)
    ]


class UMT5Attention(nnx.Module):
    """Self-attention of one layer, with its own table of position biases."""

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs) -> None:
        inner = config.heads * config.head_width
        self.config = config
        self.q = _linear(config, config.width, inner, (config.width * config.head_width) ** -0.5, rngs)
        self.k = _linear(config, config.width, inner, config.width**-0.5, rngs)
        self.v = _linear(config, config.width, inner, config.width**-0.5, rngs)
        self.o = _linear(config, inner, config.width, inner**-0.5, rngs)
        self.position_bias = _normal((config.buckets, config.heads), config.width**-0.5, rngs)

    def __call__(self, x: Float[Array, "b t d"], mask: Mask) -> Float[Array, "b t d"]:
        """Equations (1) and (2), without the residual sum."""
        heads = (*x.shape[:2], self.config.heads, self.config.head_width)
        q, k, v = (project(x).reshape(heads) for project in (self.q, self.k, self.v))
        # float32 for logits and softmax: without 1/sqrt(d) logits are large, and bfloat16 rounds them to whole units
        exact = {"precision": precision_of(self.config.dtype)}
        logits = jnp.einsum("b t n h, b s n h -> b n t s", q, k, preferred_element_type=jnp.float32, **exact)
        bias = jnp.where(mask[:, None, None, :] != 0, self.bias(x.shape[1]), jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(logits + bias, axis=-1).astype(v.dtype)
        attended = jnp.einsum("b n t s, b s n h -> b t n h", weights, v, **exact)
        return self.o(attended.reshape(*x.shape[:2], -1))

    def bias(self, tokens: int) -> Float[Array, "n t t"]:
        """The position bias of `tokens` positions, heads first, (query, key) last; float32."""
        positions = jnp.arange(tokens)
        relative = positions[None, :] - positions[:, None]
        buckets = relative_buckets(relative, self.config.buckets, self.config.max_distance)
        return jnp.moveaxis(self.position_bias[...].astype(jnp.float32)[buckets], -1, 0)


class UMT5FeedForward(nnx.Module):
    """Gated feed-forward network of one layer."""

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs) -> None:
        self.gate = _linear(config, config.width, config.ffn_width, config.width**-0.5, rngs)
        self.fc1 = _linear(config, config.width, config.ffn_width, config.width**-0.5, rngs)
        self.fc2 = _linear(config, config.ffn_width, config.width, config.ffn_width**-0.5, rngs)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """Equation (3), without the residual sum; GELU in its tanh form."""
        return self.fc2(jax.nn.gelu(self.gate(x), approximate=True) * self.fc1(x))


class UMT5Block(nnx.Module):
    """One layer: attention and feed-forward network, each after a norm and added to what came in."""

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs) -> None:
        self.attn_norm = nnx.Param(jnp.ones(config.width))
        self.attn = UMT5Attention(config, rngs=rngs)
        self.ffn_norm = nnx.Param(jnp.ones(config.width))
        self.ffn = UMT5FeedForward(config, rngs=rngs)
        self.eps = config.eps

    def __call__(self, x: Float[Array, "b t d"], mask: Mask) -> Float[Array, "b t d"]:
        x = x + self.attn(rms_norm(x, self.attn_norm[...], self.eps), mask)
        return x + self.ffn(rms_norm(x, self.ffn_norm[...], self.eps))


class UMT5Encoder(nnx.Module):
    """Token ids to prompt embeddings."""

    def __init__(self, config: UMT5Config, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.token_embedding = _normal((config.vocabulary, config.width), 1.0, rngs)
        self.blocks = stacked(lambda rngs: UMT5Block(config, rngs=rngs), config.layers, rngs)
        self.norm = nnx.Param(jnp.ones(config.width))

    def __call__(self, ids: Int[Array, "b t"], mask: Mask) -> Float[Array, "b t d"]:
        """Prompt embeddings as the video network wants them: zero beyond each prompt's length.

        Args:
            ids: tokens, padded at the end; below `config.vocabulary` (others give NaN).
            mask: 1 at tokens, 0 at padding.

        Returns:
            Embeddings in `config.dtype`.
        """
        length = mask.sum(axis=1, keepdims=True)
        return jnp.where((jnp.arange(mask.shape[1]) < length)[:, :, None], self.hidden(ids, mask), 0)

    def hidden(self, ids: Int[Array, "b t"], mask: Mask) -> Float[Array, "b t d"]:
        """The same before zeroing: padded positions hold numbers too, which no position of the prompt has seen."""
        x, _ = jax.lax.scan(lambda x, block: (block(x, mask), None), self.embed(ids), self.blocks)
        return rms_norm(x, self.norm[...], self.config.eps)

    def embed(self, ids: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Rows of the token table, unscaled."""
        return jnp.take(self.token_embedding[...], ids, axis=0, mode="fill").astype(self.config.dtype)


def _linear(config: UMT5Config, inputs: int, outputs: int, deviation: float, rngs: nnx.Rngs) -> nnx.Linear:
    kernel_init = nnx.initializers.normal(deviation)
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=False,
        dtype=jnp.dtype(config.dtype),
        precision=precision_of(config.dtype),
        kernel_init=kernel_init,
        rngs=rngs,
    )


def _normal(shape: tuple[int, int], deviation: float, rngs: nnx.Rngs) -> nnx.Param:
    return nnx.Param(deviation * jax.random.normal(rngs.params(), shape))
