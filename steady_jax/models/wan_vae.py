"""The Wan2.1 video VAE: pixels to latents and back, in chunks with a carried cache, whatever the length of the video.

A latent frame stands for 4 pixel frames, the first one of a clip for 1. So there are two programs each way: one for the
first frame, one for every chunk after it. A whole clip is the first program and then a `lax.scan` of the second, and
nothing but the clip itself grows with its length.

Source: Wan team 2025, arXiv 2503.20314, section on Wan-VAE.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from steady_jax.models.vae_layers import (
    Cache,
    Chain,
    FrameAttention,
    Level,
    NormConv,
    Residual,
    Shortcut,
    SpatialDown,
    SpatialUp,
    TemporalDown,
    TemporalUp,
)
from steady_jax.nn.causal_conv import CausalConv
from steady_jax.nn.modules import check_dtype, linear
from steady_jax.shapes import Array, Float

__all__ = ["Cache", "VAEConfig", "WanVAE"]

COLOURS = 3

Moments = Float[Array, "b _ _ _ c"]

# fmt: off
WAN_LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)
WAN_LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of the network, and how it computes. Sequences are kept as tuples, so lists (from JSON) do as well."""

    channels: int = 16  # of latents
    width: int = 96  # channels at full resolution
    multipliers: Sequence[int] = (1, 2, 4, 4)  # channels of each level in widths; height and width halve in between
    res_blocks: int = 2  # per level of the encoder; the decoder has one more
    temporal_downsample: Sequence[bool] = (False, True, True)  # after which levels the frame rate halves too
    patch: int = 1  # rows and columns of pixels that the first level sees as one, side by side on channels
    shortcuts: bool = False  # around every level that halves or doubles, see steady_jax.models.vae_layers.Shortcut
    # frames that kernels see, by level, full resolution first: 3, or 1 for a level that does not look at other frames;
    # None: 3 everywhere. Where levels halve the frame rate they see 3 in any case
    temporal_kernels: Sequence[int] | None = None
    latent_mean: Sequence[float] = WAN_LATENT_MEAN  # per channel, of the encoder's output before it is normalised
    latent_std: Sequence[float] = WAN_LATENT_STD
    dtype: str = "bfloat16"  # of convolutions and activations

    def __post_init__(self) -> None:
        for name in ("multipliers", "temporal_downsample", "latent_mean", "latent_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("channels", "width", "res_blocks", "patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.multipliers or len(self.temporal_downsample) != len(self.multipliers) - 1:
            raise ValueError(
                "temporal_downsample needs one entry for each level (multiplier) but the last, "
                f"got temporal_downsample {self.temporal_downsample} with multipliers {self.multipliers}"
            )
        if any(width < 2 or width % 2 for width in self.widths[1:]):
            raise ValueError(
                f"the decoder halves channels between levels, so they must be even, got levels of {self.widths}"
            )
        for name in ("latent_mean", "latent_std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"{name} needs one value per latent channel ({self.channels}), got {len(getattr(self, name))}"
                )
        if min(self.latent_std) <= 0:
            raise ValueError(f"latent_std must be positive, got {self.latent_std}")
        check_dtype(self.dtype)
        self._check_temporal_kernels()
        _ = self.down_shortcuts, self.up_shortcuts  # refuse widths that do not fit

    def _check_temporal_kernels(self) -> None:
        if self.temporal_kernels is None:
            return
        kernels, levels = tuple(self.temporal_kernels), len(self.multipliers)
        if len(kernels) != levels or not set(kernels) <= {1, 3} or kernels[-1] != 3:
            raise ValueError(
                f"temporal_kernels are 1 or 3 for each of the {levels} levels (multipliers), 3 for the last, "
                f"got {kernels}"
            )
        # one network, one configuration
        object.__setattr__(self, "temporal_kernels", None if set(kernels) == {3} else kernels)

    @property
    def kernels(self) -> tuple[int, ...]:
        """Frames that the kernels of each level see, full resolution first."""
        return (3,) * len(self.multipliers) if self.temporal_kernels is None else self.temporal_kernels

    @property
    def down_shortcuts(self) -> tuple[Shortcut | None, ...]:
        """Around each level of the encoder, full resolution first; None where there is none."""
        if not self.shortcuts:
            return (None,) * len(self.widths)
        before = (self.width, *self.widths)
        frames = [1 + halved for halved in self.temporal_downsample]
        return (*(Shortcut(before[i], self.widths[i], n, up=False) for i, n in enumerate(frames)), None)

    @property
    def up_shortcuts(self) -> tuple[Shortcut | None, ...]:
        """Around each level of the decoder, full resolution last; None where there is none."""
        if not self.shortcuts:
            return (None,) * len(self.widths)
        widths = self.widths[:0:-1]
        before = (widths[0], *(width // 2 for width in widths)) if widths else ()
        frames = [1 + doubled for doubled in reversed(self.temporal_downsample)]
        return (*(Shortcut(before[i], widths[i] // 2, n, up=True) for i, n in enumerate(frames)), None)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, full resolution first."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def spatial_stride(self) -> int:
        """Rows (and columns) of pixels per row of latents."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def temporal_stride(self) -> int:
        """Pixel frames per latent frame, after the first: that one is one pixel frame."""
        return 2 ** sum(self.temporal_downsample)

    @property
    def decoder_reach(self) -> int:
        """Latent frames that the decoder's cache can depend on: what came before them is forgotten."""
        # every causal convolution over three frames looks two back, at its level's frame rate
        rate, reach = 1, 2 + 2 * 4  # conv_in, and the middle
        for level in reversed(range(len(self.widths))):
            reach += (self.res_blocks + 1) * 2 * (self.kernels[level] - 1) / rate
            if level and self.temporal_downsample[level - 1]:
                reach += 2 / rate
                rate *= 2
        return math.ceil(reach + (self.kernels[0] - 1) / rate)  # head

    def check_clip(self, frames: int, height: int, width: int) -> None:
        """Refuses clips that the encoder cannot take whole.

        Raises:
            ValueError: not 1 + 4k frames, or height or width not a multiple of 8 (4 and 8 as the strides are).
        """
        extra = (frames - 1) % self.temporal_stride
        if frames < 1 or extra:
            more = frames + self.temporal_stride - extra
            less = f"drop the last {extra} or " if frames > extra else ""
            raise ValueError(
                f"the VAE encodes 1 + {self.temporal_stride}k pixel frames, got {frames}: {less}give {more} frames"
            )
        self.check_size(height, width)

    def check_size(self, height: int, width: int) -> None:
        """Refuses pixel frames of which no whole rows and columns of latents can be made.

        Raises:
            ValueError: height or width not a multiple of 8 (8 as the stride is).
        """
        if height % self.spatial_stride or width % self.spatial_stride or not height or not width:
            raise ValueError(
                f"pixel height and width must be multiples of {self.spatial_stride}, got {height}x{width}: "
                "crop or resize the video"
            )


class WanVAE(nnx.Module):
    """The network. `encode` and `decode` take whole clips, their `_first` and `_next` one latent frame of a clip."""

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs) -> None:
        self.encoder = Chain(encoder_layers(config, rngs))
        self.to_moments = linear(2 * config.channels, 2 * config.channels, config.dtype, rngs)
        self.from_latent = linear(config.channels, config.channels, config.dtype, rngs)
        self.decoder = Chain(decoder_layers(config, rngs))
        self.config = config

    def encode(self, pixels: Float[Array, "b f height width rgb"]) -> Float[Array, "b _ _ _ c"]:
        """Latents of a clip, (mu - mean) / std without sampling.

        Bit for bit what `encode_first` and `encode_next` give one by one.

        Args:
            pixels: -1..1; 1 + 4k frames, height and width multiples of 8.
        Returns: 1 + k latent frames of height/8 x width/8, float32.
        Raises:
            ValueError: other sizes.
        """
        self.config.check_clip(*pixels.shape[1:4])

        def chunk(cache: Cache, frames: Array) -> tuple[Cache, Array]:
            latent, cache = self.encode_next(frames, cache)
            return cache, latent

        first, cache = self.encode_first(pixels[:, 0])
        chunks = rearrange(pixels[:, 1:], "b (k t) h w c -> k b t h w c", t=self.config.temporal_stride)
        _, later = jax.lax.scan(chunk, cache, chunks)
        return jnp.concatenate([first[:, None], rearrange(later, "k b h w c -> b k h w c")], axis=1)

    def encode_first(self, pixels: Float[Array, "b height width rgb"]) -> tuple[Float[Array, "b h w c"], Cache]:
        """The latent frame of a clip's first pixel frame, and the cache for the next.

        Args:
            pixels: -1..1; height and width multiples of 8.
        Raises:
            ValueError: other sizes.
        """
        self.config.check_size(*pixels.shape[1:3])
        return self._encode(pixels[:, None], None)

    def encode_next(
        self, pixels: Float[Array, "b t height width rgb"], cache: Cache
    ) -> tuple[Float[Array, "b h w c"], Cache]:
        """The latent frame of the next 4 pixel frames, and the cache for the next, of the same names, shapes and types.

        It fits the body of a `lax.scan`, and the cache may be donated.

        Raises:
            ValueError: another number of frames, or of another size than the first one.
        """
        stride, size = self.config.temporal_stride, pixels.shape[2:4]
        first = tuple(self.config.spatial_stride * length for length in cache["head"].shape[2:4])
        if pixels.shape[1] != stride:
            raise ValueError(
                f"a latent frame after the first is made of {stride} pixel frames, got {pixels.shape[1]}: "
                "collect as many, or encode the clip at once"
            )
        if size != first:
            raise ValueError(
                f"frames of a clip have one size, got {size[0]}x{size[1]} after a first of {first[0]}x{first[1]}: "
                "begin another clip, or resize them"
            )
        return self._encode(pixels, cache)

    def decode(self, latents: Float[Array, "b f h w c"]) -> Float[Array, "b _ _ _ rgb"]:
        """Pixels of a clip, bit for bit what `decode_first` and `decode_next` give one by one.

        Args:
            latents: normalised, as `encode` returns them.
        Returns: 1 + 4 (f - 1) frames, 8 times as high and wide, about -1..1 (not clamped), float32.
        """

        def chunk(cache: Cache, latent: Array) -> tuple[Cache, Array]:
            pixels, cache = self.decode_next(latent, cache)
            return cache, pixels

        first, cache = self.decode_first(latents[:, 0])
        _, later = jax.lax.scan(chunk, cache, rearrange(latents[:, 1:], "b f h w c -> f b h w c"))
        return jnp.concatenate([first, rearrange(later, "k b t h w c -> b (k t) h w c")], axis=1)

    def decode_first(self, latent: Float[Array, "b h w c"]) -> tuple[Float[Array, "b 1 _ _ rgb"], Cache]:
        """The one pixel frame of a clip's first latent frame, and the cache for the next."""
        return self._decode(latent[:, None], None)

    def decode_next(self, latent: Float[Array, "b h w c"], cache: Cache) -> tuple[Float[Array, "b _ _ _ rgb"], Cache]:
        """The 4 pixel frames of a later latent frame, and the cache for the next, of the same names, shapes and types.

        It fits the body of a `lax.scan`, and the cache may be donated.
        """
        return self._decode(latent[:, None], cache)

    def abstract_cache(self, batch: int, height: int, width: int) -> Cache:
        """Shapes and types of the decoder's cache for latents of height x width."""
        latent = jax.ShapeDtypeStruct((batch, height, width, self.config.channels), jnp.float32)
        return jax.eval_shape(lambda vae, latent: vae.decode_first(latent)[1], self, latent)

    def moments(self, pixels: Float[Array, "b f height width rgb"]) -> tuple[Moments, Moments]:
        """Mean and log variance of a clip's latents before they are normalised, for training.

        All frames but the first pass at once: memory grows with the clip, but a gradient through a scan of convolutions
        takes a CPU 12 times as long (tiny size, 5 frames).

        Args: as in `encode`.
        Raises:
            ValueError: other sizes.
        """
        self.config.check_clip(*pixels.shape[1:4])
        *first, cache = self._moments(pixels[:, :1], None)
        if pixels.shape[1] == 1:
            return tuple(first)
        *later, _ = self._moments(pixels[:, 1:], cache)
        mean, log_variance = (jnp.concatenate(both, axis=1) for both in zip(first, later, strict=True))
        return mean, log_variance

    def decode_at_once(self, latents: Float[Array, "b f h w c"]) -> Float[Array, "b _ _ _ rgb"]:
        """What `decode` gives, for training: see `moments`."""
        first, cache = self._decode(latents[:, :1], None)
        if latents.shape[1] == 1:
            return first
        return jnp.concatenate([first, self._decode(latents[:, 1:], cache)[0]], axis=1)

    def normalised(self, mean: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """Latents as `encode` returns them and `decode` takes them."""
        return (mean - jnp.array(self.config.latent_mean)) / jnp.array(self.config.latent_std)

    def _encode(self, pixels: Array, cache: Cache | None) -> tuple[Array, Cache]:
        mean, _, cache = self._moments(pixels, cache)
        return self.normalised(mean[:, 0]), cache

    def _moments(self, pixels: Array, cache: Cache | None) -> tuple[Array, Array, Cache]:
        patch = self.config.patch
        patches = rearrange(pixels, "b f (h p) (w q) c -> b f h w (p q c)", p=patch, q=patch)
        h, cache = self.encoder(patches, cache)
        mean, log_variance = jnp.split(self.to_moments(h).astype(jnp.float32), 2, axis=-1)
        return mean, log_variance, cache

    def _decode(self, latents: Array, cache: Cache | None) -> tuple[Array, Cache]:
        mu = latents * jnp.array(self.config.latent_std) + jnp.array(self.config.latent_mean)
        patches, cache = self.decoder(self.from_latent(mu), cache)
        patch = self.config.patch
        pixels = rearrange(patches, "b f h w (p q c) -> b f (h p) (w q) c", p=patch, q=patch)
        return pixels.astype(jnp.float32), cache


def encoder_layers(config: VAEConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
    """From pixels to means and log variances: levels of residual blocks, each but the last followed by a halving."""
    common = {"dtype": config.dtype, "rngs": rngs}
    shape = (config.kernels[0], 3, 3)
    layers: dict[str, nnx.Module] = {"conv_in": CausalConv(config.patch**2 * COLOURS, config.width, shape, **common)}
    inputs, last = config.width, len(config.widths) - 1
    for level, width in enumerate(config.widths):
        stage = _residuals(inputs, width, config.res_blocks, frames=config.kernels[level], **common)
        if level < last:
            stage["down"] = SpatialDown(width, **common)
            if config.temporal_downsample[level]:
                stage["time_down"] = TemporalDown(width, **common)
        layers[f"level{level}"] = _level(stage, config.down_shortcuts[level])
        inputs = width
    return {**layers, "middle": _middle(inputs, **common), "head": NormConv(inputs, 2 * config.channels, **common)}


def decoder_layers(config: VAEConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
    """From latents to pixels: the levels in reverse, each but the last followed by a doubling that halves channels."""
    common = {"dtype": config.dtype, "rngs": rngs}
    inputs, last = config.widths[-1], len(config.widths) - 1
    layers: dict[str, nnx.Module] = {"conv_in": CausalConv(config.channels, inputs, **common)}
    layers["middle"] = _middle(inputs, **common)
    for level, width in enumerate(reversed(config.widths)):
        stage = _residuals(inputs, width, config.res_blocks + 1, frames=config.kernels[last - level], **common)
        if level < last:
            if config.temporal_downsample[last - 1 - level]:
                stage["time_up"] = TemporalUp(width, **common)
            stage["up"] = SpatialUp(width, **common)
        layers[f"level{level}"] = _level(stage, config.up_shortcuts[level])
        inputs = width // 2
    head = NormConv(config.widths[0], config.patch**2 * COLOURS, frames=config.kernels[0], **common)
    return {**layers, "head": head}


def _level(layers: dict[str, nnx.Module], shortcut: Shortcut | None) -> Chain:
    return Chain(layers) if shortcut is None else Level(layers, shortcut)


def _residuals(inputs: int, width: int, blocks: int, **how: Any) -> dict[str, nnx.Module]:
    before = [inputs] + [width] * (blocks - 1)
    return {f"block{i}": Residual(before[i], width, **how) for i in range(blocks)}


def _middle(width: int, *, dtype: str, rngs: nnx.Rngs) -> Chain:
    first = Residual(width, width, dtype=dtype, rngs=rngs)
    attention = FrameAttention(width, dtype=dtype, rngs=rngs)
    return Chain({"first": first, "attention": attention, "last": Residual(width, width, dtype=dtype, rngs=rngs)})
