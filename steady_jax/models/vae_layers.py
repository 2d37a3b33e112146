"""Layers of a causal video VAE. Each maps (frames, past) to (frames, past), so that a clip can pass through in chunks.

`past` is what a layer has to remember from one chunk to the next: an array, a dict of them by layer name, or {} for a
layer that looks at one frame at a time. None means that the chunk is the first frame of a clip: zeros come before it,
and the layers that change the frame rate let it pass.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from flax import nnx

from steady_jax.nn.causal_conv import CausalConv, Past
from steady_jax.nn.modules import linear, precision_of
from steady_jax.shapes import Array, Float

__all__ = [
    "Cache",
    "Chain",
    "FrameAttention",
    "Level",
    "NormConv",
    "Residual",
    "Shortcut",
    "SpatialDown",
    "SpatialUp",
    "TemporalDown",
    "TemporalUp",
    "averaged_down",
    "frame_attention",
    "l2_norm",
    "repeated_up",
]

SMALLEST_NORM = 1e-12

Cache = dict[str, Any]  # layer name -> its past


def l2_norm(x: Float[Array, "... c"], gamma: Float[Array, "c"]) -> Float[Array, "... c"]:
    """gamma * sqrt(c) * x / |x| over channels, in x's dtype."""
    wide = x.astype(jnp.float32)  # squares lose their tail in 16 bits
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.maximum(square, SMALLEST_NORM**2)) * x.shape[-1] ** 0.5
    return (wide * scale * gamma).astype(x.dtype)


def frame_attention(
    q: Float[Array, "n t c"], k: Float[Array, "n t c"], v: Float[Array, "n t c"]
) -> Float[Array, "n t c"]:
    """softmax(q k^T / sqrt(c)) v within each of n frames, one after another: one score matrix is 156 MB at 480x832."""

    def one_frame(qkv: tuple[Array, Array, Array]) -> Array:
        q, k, v = qkv
        exact = {"precision": precision_of(str(q.dtype))}
        scores = jnp.einsum("tc,sc->ts", q, k, preferred_element_type=jnp.float32, **exact) / q.shape[-1] ** 0.5
        weights = jax.nn.softmax(scores, axis=-1)  # in float32: 16 bits do not hold a sum over thousands of tokens
        return jnp.einsum("ts,sc->tc", weights.astype(v.dtype), v, **exact)

    return jax.lax.map(one_frame, (q, k, v))


class Chain(nnx.Module):
    """Layers one after another, each with an entry of its own in the cache."""

    def __init__(self, layers: Mapping[str, nnx.Module]) -> None:
        self.order = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(
        self, x: Float[Array, "b f h w i"], past: Cache | None = None
    ) -> tuple[Float[Array, "b _ _ _ o"], Cache]:
        cache: Cache = {}
        for name in self.order:
            x, cache[name] = getattr(self, name)(x, None if past is None else past[name])
        return x, cache


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """A map without parameters from what enters a level to what leaves it: half or twice the rows and columns."""

    inputs: int  # channels
    outputs: int
    frames: int  # 2 where the frame rate is halved or doubled too, 1 where it stays
    up: bool  # doubles; else halves

    def __post_init__(self) -> None:
        few, many = (self.inputs, self.outputs) if self.up else (self.outputs, self.inputs)
        if 4 * self.frames * many % few:
            raise ValueError(
                f"a shortcut {'repeats' if self.up else 'averages'} equal groups, so {4 * self.frames} (pixels of a "
                f"block) x {many} channels must be a multiple of {few}, the channels on the other side; "
                "choose other multipliers, or leave shortcuts out"
            )

    def __call__(self, x: Float[Array, "b f h w i"], first: bool) -> Float[Array, "b _ _ _ o"]:
        """Args: first: x is the first frame of a clip, which stays one frame."""
        return (repeated_up if self.up else averaged_down)(x, self.outputs, self.frames, first)


def averaged_down(
    x: Float[Array, "b f h w i"], outputs: int, frames: int, first: bool
) -> Float[Array, "b _ _ _ outputs"]:
    """Pixels of a block of frames x 2 x 2 go to channels, and neighbours among these are averaged to `outputs`.

    A clip's first frame is taken as if all had stood still before. Source: Chen et al. 2024, arXiv 2410.10733 (of rows
    and columns).
    """
    x = jnp.repeat(x, frames, axis=1) if first else x
    stacked = rearrange(x, "b (f t) (h p) (w q) c -> b f h w (c t p q)", t=frames, p=2, q=2)
    return jnp.mean(rearrange(stacked, "b f h w (o g) -> b f h w o g", o=outputs), axis=-1)


def repeated_up(
    x: Float[Array, "b f h w i"], outputs: int, frames: int, first: bool
) -> Float[Array, "b _ _ _ outputs"]:
    """The way back: channels are repeated, and go to the pixels of a block of frames x 2 x 2.

    Of a clip's first frame the last of the frames is kept, as those before it are before the clip.
    """
    repeated = jnp.repeat(x, 4 * frames * outputs // x.shape[-1], axis=-1)
    pixels = rearrange(repeated, "b f h w (c t p q) -> b (f t) (h p) (w q) c", t=frames, p=2, q=2)
    return pixels[:, -1:] if first else pixels


class Level(Chain):
    """Layers of a level, with a shortcut around all of them. Parameters and cache are those of a Chain."""

    def __init__(self, layers: Mapping[str, nnx.Module], shortcut: Shortcut) -> None:
        super().__init__(layers)
        self.around = shortcut

    def __call__(
        self, x: Float[Array, "b f h w i"], past: Cache | None = None
    ) -> tuple[Float[Array, "b _ _ _ o"], Cache]:
        y, cache = super().__call__(x, past)
        return self.around(x, first=past is None) + y, cache


class NormConv(nnx.Module):
    """Norm, SiLU, causal convolution over `frames` frames."""

    def __init__(self, inputs: int, outputs: int, *, frames: int = 3, dtype: str, rngs: nnx.Rngs) -> None:
        self.gamma = nnx.Param(jnp.ones(inputs))
        self.conv = CausalConv(inputs, outputs, (frames, 3, 3), dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b f h w i"], past: Past | None = None
    ) -> tuple[Float[Array, "b f h w o"], Past]:
        return self.conv(nnx.silu(l2_norm(x, self.gamma[...])), past)


class Residual(Chain):
    """x + two times (norm, SiLU, convolution), with a learned map of x where the widths differ."""

    def __init__(self, inputs: int, outputs: int, *, frames: int = 3, dtype: str, rngs: nnx.Rngs) -> None:
        first = NormConv(inputs, outputs, frames=frames, dtype=dtype, rngs=rngs)
        super().__init__({"first": first, "second": NormConv(outputs, outputs, frames=frames, dtype=dtype, rngs=rngs)})
        self.shortcut = None if inputs == outputs else linear(inputs, outputs, dtype, rngs)

    def __call__(
        self, x: Float[Array, "b f h w i"], past: Cache | None = None
    ) -> tuple[Float[Array, "b f h w o"], Cache]:
        y, cache = super().__call__(x, past)
        return (x if self.shortcut is None else self.shortcut(x)) + y, cache


class FrameAttention(nnx.Module):
    """x + attention of a frame's places to each other, one head over all channels."""

    def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs) -> None:
        self.gamma = nnx.Param(jnp.ones(width))
        self.qkv = linear(width, 3 * width, dtype, rngs)
        self.output = linear(width, width, dtype, rngs)

    def __call__(
        self, x: Float[Array, "b f h w c"], past: Cache | None = None
    ) -> tuple[Float[Array, "b f h w c"], Cache]:
        tokens = rearrange(l2_norm(x, self.gamma[...]), "b f h w c -> (b f) (h w) c")
        attended = frame_attention(*jnp.split(self.qkv(tokens), 3, axis=-1))
        return x + self.output(attended).reshape(x.shape), {}


class SpatialDown(nnx.Module):
    """Halves height and width: a zero row below, a zero column to the right, 3x3 with stride 2."""

    def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs) -> None:
        padding = ((0, 1), (0, 1))
        self.conv = nnx.Conv(
            width, width, (3, 3), 2, padding=padding, dtype=jnp.dtype(dtype), precision=precision_of(dtype), rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "b f h w c"], past: Cache | None = None
    ) -> tuple[Float[Array, "b f _ _ c"], Cache]:
        return self.conv(x), {}


class SpatialUp(nnx.Module):
    """Doubles height and width and halves channels: nearest neighbour, then 3x3."""

    def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(
            width, width // 2, (3, 3), dtype=jnp.dtype(dtype), precision=precision_of(dtype), rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "b f h w c"], past: Cache | None = None
    ) -> tuple[Float[Array, "b f _ _ _"], Cache]:
        return self.conv(repeat(x, "b f h w c -> b f (h p) (w q) c", p=2, q=2)), {}


class TemporalDown(nnx.Module):
    """Halves the frame rate. The first frame passes; then out_j sees frames 2j-2, 2j-1 and 2j."""

    def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs) -> None:
        self.conv = CausalConv(width, width, (3, 1, 1), stride=2, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b f h w c"], past: Array | None = None
    ) -> tuple[Float[Array, "b _ h w c"], Array]:
        return (x, x) if past is None else self.conv(x, past)


class TemporalUp(nnx.Module):
    """Doubles the frame rate. The first frame passes and is forgotten: after it a causal sequence of its own starts."""

    def __init__(self, width: int, *, dtype: str, rngs: nnx.Rngs) -> None:
        self.conv = CausalConv(width, 2 * width, (3, 1, 1), dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b f h w c"], past: Array | None = None
    ) -> tuple[Float[Array, "b _ h w c"], Array]:
        if past is None:
            return x, self.conv.no_past(x)
        pairs, past = self.conv(x, past)
        return rearrange(pairs, "b f h w (p c) -> b (f p) h w c", p=2), past
