"""The way back: the transformer of a checkpoint folder as a PyTorch file in the original layout."""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from converters import student, table, wan_dit
from steady_jax import checkpoint
from steady_jax.models.wan_dit import DiTConfig

LAYOUT = "original"
SAFETENSORS_ENDING, TORCH_ENDINGS = ".safetensors", (".pt", ".pth")
_SAFETENSORS_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def export_dit(folder: Path, file: Path) -> None:
    """Writes the transformer under its original names: plain to .safetensors, as a student file to .pt or .pth.

    Raises:
        ValueError: the folder is no whole checkpoint, the file or what an interrupted export left of it exists, its
            ending is another one, or there is no folder to hold it. A failed export leaves nothing.
    """
    _check_new(file)
    config = checkpoint.describe(folder, parts=["dit"]).parts["dit"].config(DiTConfig)
    arrays = checkpoint.StoredArrays(folder, "dit")
    rules = wan_dit.tables(config)[LAYOUT]
    tensors = table.to_torch(rules, arrays)
    with _partial_until_whole(file) as partial:
        if file.suffix in TORCH_ENDINGS:
            student.export(partial, tensors)
            return
        kinds = {
            name: _SAFETENSORS_TYPES[arrays.shapes[rule.path].dtype.name]
            for rule in rules
            for name in rule.torch_names(arrays.shapes[rule.path].shape)
        }
        write_safetensors(partial, table.torch_shapes(rules, arrays.shapes), kinds, tensors)


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


def _check_new(file: Path) -> None:
    if not file.parent.is_dir():
        raise ValueError(f"{file} cannot be written: there is no folder {file.parent}; make it or name another file")
    if file.exists():
        raise ValueError(f"{file} exists and is never overwritten; name another file or remove it")
    if file.suffix not in (SAFETENSORS_ENDING, *TORCH_ENDINGS):
        raise ValueError(f"an exported file ends in .safetensors, .pt or .pth, got {file.name}")
    if _partial(file).exists():
        raise ValueError(f"{_partial(file)} exists: another export is running, or one was interrupted; then remove it")


def _partial(file: Path) -> Path:
    return file.with_name(file.name + ".partial")


@contextlib.contextmanager
def _partial_until_whole(file: Path) -> Iterator[Path]:
    """Gives another name to write to, which becomes `file` when the block ends without an error."""
    partial = _partial(file)
    try:
        yield partial
        os.replace(partial, file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
