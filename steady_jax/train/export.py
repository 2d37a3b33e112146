"""From trained networks to a checkpoint folder that sampling, conversion and the next stage read."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from steady_jax import checkpoint, parameters
from steady_jax.checkpoint import Checkpoint, Part
from steady_jax.models.umt5 import UMT5Config
from steady_jax.models.wan_dit import DiTConfig
from steady_jax.models.wan_vae import VAEConfig

CONFIGS = {"dit": DiTConfig, "vae": VAEConfig, "text_encoder": UMT5Config}


def export(
    folder: str | Path,
    modules: Mapping[str, nnx.Module],
    configs: Mapping[str, Any],
    copied: Mapping[str, str],
    sampling: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint folder from one process.

    Args:
        modules: networks by part ("dit", "vae", "text_encoder"), whatever their shardings.
        configs: their configurations.
        copied: further parts ("tokenizer" too) by the checkpoint folder they are taken from.
        sampling: how a student is to be sampled, see `steady_jax.checkpoint.Checkpoint`.
    Raises:
        ValueError: the folder exists, or there are several processes: their shards are not all here.
    """
    if jax.process_count() > 1:
        raise ValueError(
            "a checkpoint folder is written by one process; run scripts/export.py --workdir=... --destination=... alone"
        )
    with checkpoint.new_folder(folder) as draft:
        parts = [
            checkpoint.save_component(draft, name, configs[name], _arrays(module), source="training")
            for name, module in modules.items()
        ]
        parts += [_copy(draft, name, source) for name, source in copied.items() if name not in modules]
        checkpoint.save_description(draft, parts, sampling)


def rewrite(source: str | Path, destination: str | Path, dtype: str, parts: Iterable[str]) -> None:
    """Writes parts of a checkpoint folder again with all weights of one type: 16 bit for a model that is to travel.

    Raises:
        ValueError: the source is incomplete, or the destination exists.
    """
    checkpoint.check_new(destination)
    found = checkpoint.describe(source, parts)
    with checkpoint.new_folder(destination) as draft:
        written = [_rewritten(draft, found, name, jnp.dtype(dtype)) for name in found.parts]
        checkpoint.save_description(draft, written, found.sampling)


def _rewritten(draft: Path, found: Checkpoint, name: str, dtype: jnp.dtype) -> Part:
    part = found.parts[name]
    if name == checkpoint.TOKENIZER:
        return checkpoint.save_tokenizer(draft, found.tokenizer, source=part.source)
    stored = checkpoint.StoredArrays(found.folder, name)
    arrays = ((path, stored[path].astype(dtype)) for path in stored)
    return checkpoint.save_component(draft, name, part.config(CONFIGS[name]), arrays, source=part.source)


def _arrays(module: nnx.Module) -> Any:
    return ((path, np.asarray(array)) for path, array in parameters.named(module).items())


def _copy(draft: Path, name: str, source: str) -> Part:
    found = checkpoint.describe(source, parts=[name])
    shutil.copytree(found.folder / name, draft / name)
    return found.parts[name]
