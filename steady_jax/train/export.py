"""From trained networks to a checkpoint folder that sampling, conversion and the next stage read."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from steady_jax import checkpoint, parameters
from steady_jax.checkpoint import Part


def export(
    folder: str | Path, modules: Mapping[str, nnx.Module], configs: Mapping[str, Any], copied: Mapping[str, str]
) -> None:
    """Writes a checkpoint folder from one process.

    Args:
        modules: networks by part ("dit", "vae", "text_encoder"), whatever their shardings.
        configs: their configurations.
        copied: further parts ("tokenizer" too) by the checkpoint folder they are taken from.
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
        parts += [_copy(draft, name, Path(source)) for name, source in copied.items() if name not in modules]
        checkpoint.save_description(draft, parts)


def _arrays(module: nnx.Module) -> Any:
    return ((path, np.asarray(array)) for path, array in parameters.named(module).items())


def _copy(draft: Path, name: str, source: Path) -> Part:
    part = checkpoint.describe(source, parts=[name]).parts[name]
    shutil.copytree(source / name, draft / name)
    return part
