"""The way back: the transformer of a checkpoint folder as a PyTorch file in the original layout."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from converters import student, table, wan_dit
from steady_jax import checkpoint
from steady_jax.models.wan_dit import DiTConfig

LAYOUT = "original"
_SAFETENSORS_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def export_dit(folder: Path, file: Path) -> None:
    """Writes the transformer under its original names: plain to .safetensors, as a student file to .pt or .pth.

    Raises:
        ValueError: the folder is no whole checkpoint, the file exists, or its ending is another one.
    """
    config = checkpoint.describe(folder, parts=["dit"]).parts["dit"].config(DiTConfig)
    arrays = checkpoint.StoredArrays(folder, "dit")
    rules = wan_dit.tables(config)[LAYOUT]
    tensors = table.to_torch(rules, arrays)
    if file.exists():
        raise ValueError(f"{file} exists and is never overwritten; name another file or remove it")
    if file.suffix == ".safetensors":
        kinds = {
            name: _SAFETENSORS_TYPES[arrays.shapes[rule.path].dtype.name]
            for rule in rules
            for name in rule.torch_names(arrays.shapes[rule.path].shape)
        }
        write_safetensors(file, table.torch_shapes(rules, arrays.shapes), kinds, tensors)
    elif file.suffix in (".pt", ".pth"):
        student.export(file, tensors)
    else:
        raise ValueError(f"an exported file ends in .safetensors, .pt or .pth, got {file.name}")


def write_safetensors(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, str],
    tensors: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Writes a safetensors file one tensor at a time.

    Args:
        file: to write.
        shapes: of every tensor by name.
        kinds: safetensors' type of every tensor by name, for example "BF16".
        tensors: the tensors, in the order of `shapes`.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * (4 if kinds[name] == "F32" else 2)
        header[name] = {"dtype": kinds[name], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in tensors:
            opened.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))
