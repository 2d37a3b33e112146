"""Tables of the Wan VAE: the original PyTorch layout and diffusers' layout (AutoencoderKLWan)."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from converters.table import Layout, Rule, conv2d, conv3d, linear, per_channel, per_channel_2d, same
from steady_jax.models.wan_vae import COLOURS, VAEConfig


def _pointwise(ones: int) -> Layout:
    """(o, i, 1, ...) -> (i, o): a convolution that looks at one place is a linear map."""

    def to_torch(array: np.ndarray) -> np.ndarray:
        return array.transpose(1, 0).reshape(*array.shape[::-1], *[1] * ones)

    return Layout(lambda array: linear.to_flax(array.reshape(array.shape[:2])), to_torch)


pointwise_2d, pointwise_3d = _pointwise(2), _pointwise(3)


@dataclasses.dataclass(frozen=True)
class Names:
    """How one PyTorch layout calls things. Both number the encoder's blocks and halvings through, across its levels."""

    encoder_blocks: str
    conv_in: str
    conv_out: str
    norm_out: str
    to_moments: str
    from_latent: str
    middle: tuple[str, str, str]  # residual block, attention, residual block
    residual: tuple[str, str, str, str, str]  # norm, convolution, norm, convolution, shortcut


NAMES = {
    "original": Names(
        encoder_blocks="encoder.downsamples",
        conv_in="conv1",
        conv_out="head.2",
        norm_out="head.0",
        to_moments="conv1",
        from_latent="conv2",
        middle=("middle.0", "middle.1", "middle.2"),
        residual=("residual.0", "residual.2", "residual.3", "residual.6", "shortcut"),
    ),
    "diffusers": Names(
        encoder_blocks="encoder.down_blocks",
        conv_in="conv_in",
        conv_out="conv_out",
        norm_out="norm_out",
        to_moments="quant_conv",
        from_latent="post_quant_conv",
        middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
        residual=("norm1", "conv1", "norm2", "conv2", "conv_shortcut"),
    ),
}


def tables(config: VAEConfig) -> dict[str, tuple[Rule, ...]]:
    """Rules by layout name, for a network of these sizes."""
    return {layout: tuple(_rules(config, layout)) for layout in NAMES}


def identify(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The layout in which these tensors are a Wan2.1 VAE, or None if they are something else."""
    for layout, names in NAMES.items():
        norm, conv = names.residual[:2]
        telling = {
            f"{names.encoder_blocks}.0.{norm}.gamma": 4,
            f"{names.encoder_blocks}.0.{conv}.weight": 5,
            f"decoder.{names.conv_in}.weight": 5,
            f"decoder.{names.norm_out}.gamma": 4,
            f"{names.from_latent}.weight": 5,
        }
        if all(len(shapes.get(name, ())) == axes for name, axes in telling.items()):
            return layout
    return None


def config_from(
    shapes: Mapping[str, tuple[int, ...]], layout: str, settings: Mapping[str, Any] | None = None
) -> VAEConfig:
    """Sizes of the network these tensors belong to.

    Whether it has `shortcuts` cannot be seen, as these have no parameters: none of the networks that come in these
    layouts has them, so none are taken to be there. A network of ours keeps its sizes in its checkpoint folder.

    Args:
        shapes: tensor shapes by PyTorch name.
        layout: from `identify`.
        settings: parsed config.json beside the file, for the mean and std of latents; without them, the published ones.
    Raises:
        ValueError: lists the tensors that would tell the sizes and are missing.
    """
    names = NAMES[layout]
    conv_in, from_latent = f"encoder.{names.conv_in}.weight", f"{names.from_latent}.weight"
    missing = [name for name in (conv_in, from_latent) if name not in shapes]
    levels = list(_encoder_levels(shapes, names))
    if missing or any(not level.widths for level in levels):
        missing = missing or [f"{names.encoder_blocks}.*.{names.residual[3]}.weight"]
        raise ValueError(f"the sizes of a Wan VAE are read from tensors that are missing here: {missing}")
    statistics = {"latent_mean": "latents_mean", "latent_std": "latents_std"}
    width, inputs = shapes[conv_in][:2]
    return VAEConfig(
        channels=shapes[from_latent][0],
        width=width,
        patch=math.isqrt(inputs // COLOURS),
        multipliers=tuple(level.widths[-1] // width for level in levels),
        res_blocks=len(levels[0].widths),
        temporal_downsample=tuple(level.halves_time for level in levels[:-1]),
        temporal_kernels=tuple(level.kernel for level in levels),
        **{
            field: tuple(map(float, settings[key])) for field, key in statistics.items() if settings and key in settings
        },
    )


@dataclasses.dataclass
class _Level:
    widths: list[int]  # of its residual blocks
    kernel: int = 0  # frames that their convolutions see
    halves_time: bool = False


def _encoder_levels(shapes: Mapping[str, tuple[int, ...]], names: Names) -> Iterator[_Level]:
    """Walks the encoder's numbered blocks; a halving ends a level."""
    level = _Level([])
    for number in itertools.count():
        prefix = f"{names.encoder_blocks}.{number}"
        if f"{prefix}.resample.1.weight" in shapes:
            level.halves_time = f"{prefix}.time_conv.weight" in shapes
            yield level
            level = _Level([])
        elif f"{prefix}.{names.residual[3]}.weight" in shapes:
            width, _, level.kernel = shapes[f"{prefix}.{names.residual[3]}.weight"][:3]
            level.widths.append(width)
        else:
            yield level
            return


def _rules(config: VAEConfig, layout: str) -> Iterator[Rule]:
    names = NAMES[layout]
    for side in ("encoder", "decoder"):
        yield from _weights(f"{side}.{names.conv_in}", f"{side}/conv_in", conv3d)
        yield from _middle(names, side)
        yield Rule(f"{side}.{names.norm_out}.gamma", f"{side}/head/gamma", per_channel)
        yield from _weights(f"{side}.{names.conv_out}", f"{side}/head/conv", conv3d)
    yield from _weights(names.to_moments, "to_moments", pointwise_3d)
    yield from _weights(names.from_latent, "from_latent", pointwise_3d)
    yield from _encoder(config, names)
    yield from _decoder(config, names, layout)


def _encoder(config: VAEConfig, names: Names) -> Iterator[Rule]:
    before, number = config.width, itertools.count()
    for level, width in enumerate(config.widths):
        path = f"encoder/level{level}"
        for block in range(config.res_blocks):
            yield from _residual(
                f"{names.encoder_blocks}.{next(number)}", f"{path}/block{block}", names, before != width
            )
            before = width
        if level < len(config.temporal_downsample):
            halving = f"{names.encoder_blocks}.{next(number)}"
            yield from _resampling(halving, f"{path}/down", f"{path}/time_down", config.temporal_downsample[level])


def _decoder(config: VAEConfig, names: Names, layout: str) -> Iterator[Rule]:
    before, last = config.widths[-1], len(config.widths) - 1
    blocks = config.res_blocks + 1
    for level, width in enumerate(reversed(config.widths)):
        path = f"decoder/level{level}"
        if layout == "original":  # numbered through, like the encoder
            first = level * (blocks + 1)
            torch_blocks = [f"decoder.upsamples.{first + block}" for block in range(blocks)]
            doubling = f"decoder.upsamples.{first + blocks}"
        else:
            torch_blocks = [f"decoder.up_blocks.{level}.resnets.{block}" for block in range(blocks)]
            doubling = f"decoder.up_blocks.{level}.upsamplers.0"
        for block, torch in enumerate(torch_blocks):
            yield from _residual(torch, f"{path}/block{block}", names, before != width)
            before = width
        if level < last:
            in_time = config.temporal_downsample[last - 1 - level]
            yield from _resampling(doubling, f"{path}/up", f"{path}/time_up", in_time)
        before = width // 2


def _middle(names: Names, side: str) -> Iterator[Rule]:
    first, attention, last = (f"{side}.{name}" for name in names.middle)
    path = f"{side}/middle"
    yield from _residual(first, f"{path}/first", names, shortcut=False)
    yield Rule(f"{attention}.norm.gamma", f"{path}/attention/gamma", per_channel_2d)
    yield from _weights(f"{attention}.to_qkv", f"{path}/attention/qkv", pointwise_2d)
    yield from _weights(f"{attention}.proj", f"{path}/attention/output", pointwise_2d)
    yield from _residual(last, f"{path}/last", names, shortcut=False)


def _residual(torch: str, path: str, names: Names, shortcut: bool) -> Iterator[Rule]:
    norm1, conv1, norm2, conv2, mapping = (f"{torch}.{name}" for name in names.residual)
    yield Rule(f"{norm1}.gamma", f"{path}/first/gamma", per_channel)
    yield from _weights(conv1, f"{path}/first/conv", conv3d)
    yield Rule(f"{norm2}.gamma", f"{path}/second/gamma", per_channel)
    yield from _weights(conv2, f"{path}/second/conv", conv3d)
    if shortcut:
        yield from _weights(mapping, f"{path}/shortcut", pointwise_3d)


def _resampling(torch: str, path: str, time_path: str, in_time: bool) -> Iterator[Rule]:
    yield from _weights(f"{torch}.resample.1", f"{path}/conv", conv2d)
    if in_time:
        yield from _weights(f"{torch}.time_conv", f"{time_path}/conv", conv3d)


def _weights(torch: str, path: str, layout: Layout) -> tuple[Rule, Rule]:
    return Rule(f"{torch}.weight", f"{path}/kernel", layout), Rule(f"{torch}.bias", f"{path}/bias", same)
