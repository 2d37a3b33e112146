"""Tiny PyTorch files as users have them, with random weights."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers_text import write_tiny_tokenizer
from safetensors.torch import save_file

from converters import table
from converters.convert import NETWORKS
from steady_jax import parameters
from steady_jax.models.umt5 import UMT5Config
from steady_jax.models.wan_dit import DiTConfig
from steady_jax.models.wan_vae import VAEConfig

VOCABULARY = 96
TINY = {
    "dit": DiTConfig(
        width=64, ffn_width=128, heads=2, layers=3, text_width=48, text_length=16, frequency_width=32, channels=16
    ),
    "vae": VAEConfig(width=6),
    "text_encoder": UMT5Config(vocabulary=VOCABULARY, width=48, ffn_width=80, heads=4, head_width=12, layers=2),
}
STUDENT_FILE = "steady-forcing-t2v.pt"
VAE_FILE = "Wan2.1_VAE.pth"
TEXT_ENCODER_FILE = "models_t5_umt5-xxl-enc-bf16.pth"

Tensors = dict[str, torch.Tensor]


@functools.cache
def original_shapes(part: str, config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors in the original PyTorch layout."""
    converter, network = NETWORKS[part]
    return table.torch_shapes(
        converter.tables(config)["original"], parameters.named(parameters.abstract(network, config))
    )


def random_tensors(part: str, config: Any, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensors:
    """Random tensors of a network in the original layout, small enough that activations stay finite in any type."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (0.1 * torch.randn(shape, generator=generator)).to(dtype)
        for name, shape in original_shapes(part, config).items()
    }


def write_wan_folder(
    folder: Path, dtype: torch.dtype = torch.float32, configs: Mapping[str, Any] = TINY, seed: int = 0
) -> dict[str, Tensors]:
    """Writes a model in the original layout: transformer in two files with an index, VAE, text encoder, tokenizer.

    The VAE is float32 and the text encoder bfloat16, as published; `dtype` is the transformer's.

    Args:
        folder: to make.
        dtype: of the transformer.
        configs: sizes by the name of the part; what is not there is not written.
        seed: of the weights.
    Returns:
        The tensors of each part by name.
    """
    dtypes = {"dit": dtype, "vae": torch.float32, "text_encoder": torch.bfloat16}
    tensors = {part: random_tensors(part, config, dtypes[part], seed) for part, config in configs.items()}
    folder.mkdir(parents=True)
    if "dit" in configs:
        write_shards(folder, tensors["dit"])
        write_settings(folder, configs["dit"])
    if "vae" in configs:
        torch.save(tensors["vae"], folder / VAE_FILE)
    if "text_encoder" in configs:
        torch.save(tensors["text_encoder"], folder / TEXT_ENCODER_FILE)
        write_tiny_tokenizer(folder / "google" / "umt5-xxl", configs["text_encoder"].vocabulary)
    return tensors


def write_shards(folder: Path, tensors: Tensors, stem: str = "diffusion_pytorch_model") -> None:
    """Writes tensors as two safetensors files and their index."""
    names = list(tensors)
    halves = {1: names[: len(names) // 2], 2: names[len(names) // 2 :]}
    where = {name: f"{stem}-{half:05}-of-00002.safetensors" for half, part in halves.items() for name in part}
    for part in halves.values():
        save_file({name: tensors[name] for name in part}, folder / where[part[0]])
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": where}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def write_settings(folder: Path, config: DiTConfig) -> None:
    """Writes config.json with the keys of the original model."""
    settings = {
        "_class_name": "WanModel",
        "model_type": "t2v",
        "dim": config.width,
        "ffn_dim": config.ffn_width,
        "freq_dim": config.frequency_width,
        "in_dim": config.channels,
        "out_dim": config.channels,
        "num_heads": config.heads,
        "num_layers": config.layers,
        "text_len": config.text_length,
        "eps": config.eps,
    }
    (folder / "config.json").write_text(json.dumps(settings))


def write_student(
    file: Path, dtype: torch.dtype = torch.float32, config: DiTConfig = TINY["dit"], seed: int = 1
) -> dict[str, Tensors]:
    """Writes a student with both sets of weights, as training leaves it: prefixed, and wrapped here and there.

    Returns:
        The tensors of "generator" and "generator_ema" under their original names.
    """
    tensors = {
        "generator": random_tensors("dit", config, dtype, seed),
        "generator_ema": random_tensors("dit", config, dtype, seed + 1),
    }
    wrapped = {
        weights: {f"model.{_wrapped(name)}": tensor for name, tensor in part.items()}
        for weights, part in tensors.items()
    }
    torch.save({**wrapped, "critic": {"head.bias": torch.zeros(1)}, "step": 600}, file)
    return tensors


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's numbers in float32, which holds float16 and bfloat16 exactly."""
    return tensor.to(torch.float32).numpy()


def _wrapped(name: str) -> str:
    return name.replace("blocks.1.", "blocks.1._fsdp_wrapped_module._checkpoint_wrapped_module.")
