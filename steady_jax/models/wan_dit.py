"""The Wan2.1 video transformer: one class, bidirectional over whole clips, or causal block by block over a key/value
buffer.

Input and output are latents; the output is the velocity noise - x0. Every frame has its own timestep. Sizes and names
follow Wan2.1 (Wan team 2025, arXiv 2503.20314); the causal reading follows Self-Forcing (arXiv 2506.08009).
"""

import dataclasses
import math
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from steady_jax.nn import kv_cache
from steady_jax.nn.attention import attention, check_backend, clip_attention
from steady_jax.nn.embeddings import sinusoid
from steady_jax.nn.kv_cache import CacheView, KVCache
from steady_jax.nn.modules import check_dtype, check_remat, linear, precision_of, rematerialised, stacked
from steady_jax.nn.norms import layer_norm, rms_norm
from steady_jax.nn.rope import axis_pairs, rotate, rotation
from steady_jax.parallel import constrain
from steady_jax.shapes import Array, Float, Latents


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """Sizes of the network, and how it computes."""

    width: int = 1536
    ffn_width: int = 8960
    heads: int = 12
    layers: int = 30
    channels: int = 16  # of latents
    text_width: int = 4096  # of umT5's output
    text_length: int = 512  # prompts are padded to this many tokens
    frequency_width: int = 256  # of the timestep's sinusoid
    patch: int = 2  # rows and columns of latents in one token
    eps: float = 1e-6
    dtype: str = "bfloat16"  # of matrix products and activations
    attention: str = "auto"  # backend, see nn.attention
    remat: str = "none"  # what a layer computes again in the backward pass, see nn.modules.REMAT

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads or self.head_width % 2 or axis_pairs(self.head_width)[1] == 0:
            raise ValueError(
                "heads must divide width into even parts of at least 6 channels, "
                f"got width {self.width} and heads {self.heads}"
            )
        if self.frequency_width % 2:
            raise ValueError(f"frequency_width must be even (cosines and sines), got {self.frequency_width}")
        check_dtype(self.dtype)
        check_backend(self.attention)
        check_remat(self.remat)

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens in a frame of height x width latents.

        Raises:
            ValueError: the latents do not divide into patches.
        """
        if height % self.patch or width % self.patch:
            raise ValueError(f"latent height and width must be multiples of {self.patch}, got {height}x{width}")
        return height // self.patch, width // self.patch

    def tokens_per_frame(self, height: int, width: int) -> int:
        """Tokens of one frame of height x width latents."""
        return math.prod(self.grid(height, width))


DIT_SIZES = {
    "1.3b": DiTConfig(),
    "14b": DiTConfig(width=5120, ffn_width=13824, heads=40, layers=40),
}


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PromptKV:
    """Cross-attention keys and values of a prompt, all layers stacked. Computed once per prompt."""

    k: Float[Array, "l b t n h"]
    v: Float[Array, "l b t n h"]


Attend = Callable[[Array, Array, Array], tuple[Array, typing.Any]]


class Attention(nnx.Module):
    """Projections of one attention. Queries and keys are RMS-normalised over the full width, before the split into
    heads.
    """

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs) -> None:
        self.q = linear(config.width, config.width, config.dtype, rngs)
        self.k = linear(config.width, config.width, config.dtype, rngs)
        self.v = linear(config.width, config.width, config.dtype, rngs)
        self.o = linear(config.width, config.width, config.dtype, rngs)
        self.norm_q = nnx.Param(jnp.ones(config.width))
        self.norm_k = nnx.Param(jnp.ones(config.width))
        self.heads = config.heads
        self.eps = config.eps

    def queries(self, x: Float[Array, "b *t d"]) -> Float[Array, "b *t n h"]:
        return self._split(rms_norm(self.q(x), self.norm_q[...], self.eps))

    def keys_values(self, x: Float[Array, "b *t d"]) -> tuple[Float[Array, "b *t n h"], Float[Array, "b *t n h"]]:
        return self._split(rms_norm(self.k(x), self.norm_k[...], self.eps)), self._split(self.v(x))

    def output(self, x: Float[Array, "b *t n h"]) -> Float[Array, "b *t d"]:
        return self.o(rearrange(x, "b ... n h -> b ... (n h)"))

    def _split(self, x: Array) -> Array:
        return rearrange(x, "b ... (n h) -> b ... n h", n=self.heads)


class FeedForward(nnx.Module):
    """Linear, activation, Linear."""

    def __init__(
        self,
        widths: tuple[int, int, int],
        activation: Callable[[Array], Array],
        dtype: str,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.fc1 = linear(widths[0], widths[1], dtype, rngs)
        self.fc2 = linear(widths[1], widths[2], dtype, rngs)
        self.activation = activation

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        return self.fc2(self.activation(self.fc1(x)))


class Block(nnx.Module):
    """One layer: modulated self-attention, cross-attention to the prompt, modulated feed-forward."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs) -> None:
        self.modulation = nnx.Param(jax.random.normal(rngs.params(), (6, config.width)) / config.width**0.5)
        self.self_attn = Attention(config, rngs=rngs)
        self.norm_weight = nnx.Param(jnp.ones(config.width))
        self.norm_bias = nnx.Param(jnp.zeros(config.width))
        self.cross_attn = Attention(config, rngs=rngs)
        self.ffn = FeedForward((config.width, config.ffn_width, config.width), _gelu_tanh, config.dtype, rngs=rngs)
        self.config = config

    def __call__(
        self, x: Float[Array, "b f t d"], time: Float[Array, "b f 6 d"], prompt: PromptKV, attend: Attend
    ) -> tuple[Float[Array, "b f t d"], typing.Any]:
        """Applies the layer.

        Args:
            x: t tokens in each of f frames.
            time: projected timestep of each frame, six vectors, float32.
            prompt: this layer's cross-attention keys and values (without the axis l).
            attend: self-attention (q, k, v) -> (output, what to keep of this layer), all but the last of shape
                [b, f, t, n, h]. Frames stay an axis of their own, as their tokens may be cut over devices.
        Returns: x after the layer, and what `attend` kept.
        """
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = jnp.split(time + self.modulation[...], 6, axis=2)
        h = self._modulated(x, shift, scale)
        q, k, v = self.self_attn.queries(h), *self.self_attn.keys_values(h)
        out, kept = attend(*(constrain(y, "b f t n h") for y in (q, k, v)))
        x = constrain(_gated(x, gate, self.self_attn.output(out)), "b f t d")

        h = layer_norm(x, self.config.eps) * self.norm_weight[...] + self.norm_bias[...]
        q = constrain(self.cross_attn.queries(h.astype(x.dtype)), "b f t n h")
        out = attention(q, prompt.k, prompt.v, backend=self.config.attention)
        x = constrain(x + self.cross_attn.output(out), "b f t d")

        x = _gated(x, ffn_gate, self.ffn(self._modulated(x, ffn_shift, ffn_scale)))
        return constrain(x, "b f t d"), kept

    def _modulated(self, x: Array, shift: Array, scale: Array) -> Array:
        return (layer_norm(x, self.config.eps) * (1 + scale) + shift).astype(x.dtype)


class Head(nnx.Module):
    """From tokens to the velocity of their patches."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs) -> None:
        self.modulation = nnx.Param(jax.random.normal(rngs.params(), (2, config.width)) / config.width**0.5)
        self.linear = linear(config.width, config.patch**2 * config.channels, config.dtype, rngs)
        self.eps = config.eps

    def __call__(self, x: Float[Array, "b f t d"], time: Float[Array, "b f d"]) -> Float[Array, "b f t c"]:
        shift, scale = jnp.split(time[:, :, None] + self.modulation[...], 2, axis=2)
        return self.linear((layer_norm(x, self.eps) * (1 + scale) + shift).astype(x.dtype))


class PatchEmbed(nnx.Module):
    """A convolution whose stride is its kernel: one token per patch."""

    def __init__(self, shape: tuple[int, int, int, int, int], fan_in: int, dtype: str, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), shape) / fan_in**0.5)
        self.bias = nnx.Param(jnp.zeros(shape[-1]))
        self.patch = shape[1]
        self.dtype = dtype

    def __call__(self, x: Latents) -> Float[Array, "b f t d"]:
        patches = rearrange(x, "b f (h p) (w q) c -> b f (h w) (p q c)", p=self.patch, q=self.patch).astype(self.dtype)
        kernel = rearrange(self.kernel[...], "t p q c d -> (t p q c) d").astype(self.dtype)
        product = jnp.matmul(patches, kernel, precision=precision_of(self.dtype))
        return product + self.bias[...].astype(self.dtype)


class WanDiT(nnx.Module):
    """The network. Call it on whole clips, or use `causal` and `refresh` on one block at a time."""

    def __init__(self, config: DiTConfig, *, rngs: nnx.Rngs) -> None:
        width, dtype = config.width, config.dtype
        patch_shape = (1, config.patch, config.patch, config.channels, width)
        fan_in = config.patch**2 * config.channels
        self.patch_embed = PatchEmbed(patch_shape, fan_in, dtype, rngs=rngs)
        self.text_embed = FeedForward((config.text_width, width, width), _gelu_tanh, dtype, rngs=rngs)
        # float32: the timestep steers every layer, and its sinusoid changes by less than 16 bits resolve
        self.time_embed = FeedForward((config.frequency_width, width, width), nnx.silu, "float32", rngs=rngs)
        self.time_project = linear(width, 6 * width, "float32", rngs)
        self.blocks = stacked(lambda rngs: Block(config, rngs=rngs), config.layers, rngs)
        self.head = Head(config, rngs=rngs)
        self.config = config

    def __call__(self, x: Latents, timesteps: Float[Array, "b f"], prompt: PromptKV) -> Latents:
        """Velocity of whole clips with full attention.

        Args:
            x: noisy latents.
            timesteps: 0..1000, one per frame.
            prompt: from `encode_prompt`.
        Returns: velocity noise - x0, float32, in the shape of x.
        """
        grid = self.config.grid(*x.shape[2:4])
        turn = rotation(jnp.arange(x.shape[1]), *grid, self.config.head_width)

        def attend(q: Array, k: Array, v: Array) -> tuple[Array, None]:
            return clip_attention(rotate(q, turn), rotate(k, turn), v, backend=self.config.attention), None

        return self._clip(x, timesteps, prompt, attend)

    def block_causal(self, x: Latents, timesteps: Float[Array, "b f"], prompt: PromptKV, frames: int) -> Latents:
        """Velocity of whole clips in one pass, where each block attends to itself and to all blocks before it.

        It equals `causal` over a buffer from which nothing was evicted, where each block before was stored from its
        own x at its own timestep. So clean frames in front of noisy ones need a timestep of 0.

        Args:
            x, timesteps, prompt: as in `__call__`.
            frames: of a block.
        Raises:
            ValueError: the clip does not divide into blocks.
        """
        if frames < 1 or x.shape[1] % frames:
            raise ValueError(
                f"a clip must be whole blocks, got {x.shape[1]} frames in blocks of {frames}; change block_frames"
            )
        turn = rotation(jnp.arange(x.shape[1]), *self.config.grid(*x.shape[2:4]), self.config.head_width)

        def attend(q: Array, k: Array, v: Array) -> tuple[Array, None]:
            q, k = rotate(q, turn), rotate(k, turn)
            return clip_attention(q, k, v, frames=frames, backend=self.config.attention), None

        return self._clip(x, timesteps, prompt, attend)

    def causal(
        self, x: Latents, timesteps: Float[Array, "b f"], prompt: PromptKV, cache: KVCache, view: CacheView
    ) -> Latents:
        """Velocity of one block that attends to the buffer and to itself. The buffer stays as it is.

        Args: as in `__call__`; cache and view say what the block sees and where it stands.
        """

        def layer(h: Array, xs: tuple[Block, PromptKV, Array]) -> tuple[Array, None]:
            block, prompt_of_layer, index = xs
            h, _ = block(h, projected, prompt_of_layer, self._attend(cache, index, view))
            return h, None

        time, projected = self._time(timesteps)
        h, _ = jax.lax.scan(self._remat(layer), self._tokens(x), self._layers(prompt))
        return self._velocity(h, time, x.shape)

    def refresh(
        self, x: Latents, timesteps: Float[Array, "b f"], prompt: PromptKV, cache: KVCache, view: CacheView
    ) -> KVCache:
        """Runs the network on a block only to store the block's keys and values in the buffer. Args: as in `causal`."""

        def layer(
            carry: tuple[Array, KVCache], xs: tuple[Block, PromptKV, Array]
        ) -> tuple[tuple[Array, KVCache], None]:
            (h, cache), (block, prompt_of_layer, index) = carry, xs
            h, stored = block(h, projected, prompt_of_layer, self._attend(cache, index, view))
            return (h, kv_cache.store(cache, stored, index, view.start)), None

        _, projected = self._time(timesteps)
        (_, cache), _ = jax.lax.scan(layer, (self._tokens(x), cache), self._layers(prompt))
        return cache

    def encode_prompt(self, embeddings: Float[Array, "b t c"]) -> PromptKV:
        """Cross-attention keys and values of umT5 embeddings, zero beyond the prompt's length and padded to
        text_length.

        The zeros go through the text MLP and take part in attention, as in the published network.
        """
        if embeddings.shape[1:] != (self.config.text_length, self.config.text_width):
            raise ValueError(
                f"prompt embeddings must be [batch, {self.config.text_length}, {self.config.text_width}], "
                f"got {list(embeddings.shape)}"
            )
        text = constrain(self.text_embed(constrain(embeddings, "b t c")), "b t c")

        def of_layer(block: Block) -> PromptKV:
            return PromptKV(*(constrain(x, "b s n h") for x in block.cross_attn.keys_values(text)))

        return jax.lax.map(of_layer, self.blocks)

    def empty_cache(self, batch: int, slots: int, height: int, width: int) -> KVCache:
        """A buffer of `slots` frames of height x width latents, in the compute dtype."""
        config = self.config
        tokens = slots * config.tokens_per_frame(height, width)
        return kv_cache.zeros(config.layers, batch, tokens, config.width, config.dtype)

    def _clip(self, x: Latents, timesteps: Array, prompt: PromptKV, attend: Attend) -> Latents:
        def layer(h: Array, xs: tuple[Block, PromptKV]) -> tuple[Array, None]:
            block, prompt_of_layer = xs
            return block(h, projected, prompt_of_layer, attend)

        time, projected = self._time(timesteps)
        h, _ = jax.lax.scan(self._remat(layer), self._tokens(x), (self.blocks, prompt))
        return self._velocity(h, time, x.shape)

    def _tokens(self, x: Latents) -> Float[Array, "b f t d"]:
        return constrain(self.patch_embed(constrain(x, "b f h w c")), "b f t d")

    def _attend(self, cache: KVCache, layer: Array, view: CacheView) -> Attend:
        return lambda q, k, v: kv_cache.attend(q, k, v, cache, layer, view, self.config.attention)

    def _layers(self, prompt: PromptKV) -> tuple[Block, PromptKV, Array]:
        return self.blocks, prompt, jnp.arange(self.config.layers)

    def _time(self, timesteps: Float[Array, "b f"]) -> tuple[Float[Array, "b f d"], Float[Array, "b f 6 d"]]:
        embedded = constrain(self.time_embed(sinusoid(timesteps, self.config.frequency_width)), "b f d")
        projected = constrain(self.time_project(nnx.silu(embedded)), "b f d")
        return embedded, rearrange(projected, "b f (six d) -> b f six d", six=6)

    def _velocity(self, h: Array, time: Array, shape: tuple[int, ...]) -> Latents:
        rows, patch = shape[2] // self.config.patch, self.config.patch
        patches = constrain(self.head(h, time).astype(jnp.float32), "b f t d")
        x = rearrange(patches, "b f (h w) (p q c) -> b f (h p) (w q) c", h=rows, p=patch, q=patch)
        return constrain(x, "b f h w c")

    def _remat(self, layer: Callable) -> Callable:
        return rematerialised(layer, self.config.remat)


def _gated(x: Array, gate: Array, y: Array) -> Array:
    return (x + gate * y).astype(x.dtype)  # the gate is float32


def _gelu_tanh(x: Array) -> Array:
    return nnx.gelu(x, approximate=True)
