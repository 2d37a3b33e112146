"""PyTorch checkpoint files as lazy tensors by name. Files are told by their content; nothing in them is ever executed.

Read here: safetensors, an index of several files, and what torch.save writes, in the zip and in the older format. All
but the last are mapped into memory, so that a tensor costs memory only while it is read.
"""

import dataclasses
import json
import math
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch

SAFETENSORS, INDEX, TORCH, TORCH_OLD = "safetensors", "index of files", "torch zip file", "torch file in the old format"

_HEADER_LIMIT = 100 * 2**20  # bytes of a safetensors header or an index; real ones have at most a few MB
_TORCH_OLD_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # torch.save's magic number, pickled
_ZIP_START = b"PK\x03\x04"

_SAFETENSORS_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_SAME_NAME = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
_TORCH_TYPES = {getattr(torch, name): np.dtype(name) for name in _SAME_NAME} | {
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    torch.float8_e4m3fn: np.dtype(ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: np.dtype(ml_dtypes.float8_e5m2),
}
_BITS = {1: torch.uint8, 2: torch.int16}  # integers of the same width, to carry types numpy does not know


@dataclasses.dataclass(frozen=True)
class MappedTensor:
    """A tensor in a mapped safetensors file."""

    data: np.ndarray  # bytes
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        return np.require(self.data.view(self.dtype).reshape(self.shape), requirements="A")


@dataclasses.dataclass(frozen=True)
class TorchTensor:
    """A tensor of a torch file; mapped there, if the file is a zip."""

    tensor: torch.Tensor

    @property
    def dtype(self) -> np.dtype:
        return _TORCH_TYPES[self.tensor.dtype]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def read(self) -> np.ndarray:
        bits = self.tensor.view(_BITS[self.dtype.itemsize]) if self.dtype.kind == "V" else self.tensor
        return bits.numpy().view(self.dtype)


LazyTensor = MappedTensor | TorchTensor


def kind_of(file: Path) -> str | None:
    """What a file holds, from its first bytes; None if it is nothing this module reads."""
    with file.open("rb") as opened:
        start = opened.read(64)
    if start.startswith(_ZIP_START):
        return TORCH if _may_be_torch(file) else None
    if start.startswith(_TORCH_OLD_START):
        return TORCH_OLD
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _HEADER_LIMIT:
        return SAFETENSORS
    return INDEX if start.lstrip().startswith(b"{") and _weight_map(file) is not None else None


def open_file(file: Path) -> dict[str, Any]:
    """Opens a file of tensors.

    Returns:
        A `LazyTensor` by name. A torch file may hold mappings of tensors too, and other values, which come as they are.
    Raises:
        ValueError: the file holds something else, is damaged or cut off, or needs code to be loaded.
    """
    readers: dict[str | None, Callable[[Path], dict[str, Any]]] = {
        SAFETENSORS: _open_safetensors,
        INDEX: _open_index,
        TORCH: _open_torch,
        TORCH_OLD: _open_torch,
    }
    kind = kind_of(file)
    if kind not in readers:
        raise ValueError(
            f"{file} is none of the files that can be read ({', '.join(filter(None, readers))}); "
            "other pickles are refused, because loading one runs the code in it"
        )
    return readers[kind](file)


def tensor_files(folder: Path) -> list[Path]:
    """The files of a folder that can be opened, by name; an index stands for the files it names."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and kind_of(file)]
    parts = {
        folder / part for file in files if kind_of(file) == INDEX for part in set((_weight_map(file) or {}).values())
    }
    return [file for file in files if file not in parts]


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The folder's config.json, if it has one.

    Raises:
        ValueError: the file is not a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(settings).__name__}")
    return settings


def whole_number(settings: Mapping[str, Any], key: str, default: int) -> int:
    """A positive integer of config.json, or `default` if it does not have the key.

    Raises:
        ValueError: the value is something else.
    """
    if key not in settings:
        return default
    value = settings[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config.json must give {key} as a positive integer, got {value!r}; correct the file")
    return value


def _weight_map(file: Path) -> dict[str, str] | None:
    if file.stat().st_size > _HEADER_LIMIT:
        return None
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return None
    where = content.get("weight_map") if isinstance(content, dict) else None
    return where if isinstance(where, dict) and all(isinstance(name, str) for name in where.values()) else None


def _open_index(file: Path) -> dict[str, Any]:
    where = _weight_map(file) or {}
    names = sorted(set(where.values()))
    lacking = [name for name in names if Path(name).name != name or not (file.parent / name).is_file()]
    if lacking:
        raise ValueError(f"{file} names files that are not beside it: {lacking}; download them again")
    strange = [name for name in names if kind_of(file.parent / name) == INDEX]
    if strange:
        raise ValueError(f"{file} names {strange}, which name further files; needed are files of tensors")
    opened = {name: open_file(file.parent / name) for name in names}
    absent = [tensor for tensor, name in where.items() if tensor not in opened[name]]
    if absent:
        raise ValueError(f"{file} names tensors that their files do not hold: {absent}; download the files again")
    return {tensor: opened[name][tensor] for tensor, name in where.items()}


def _open_safetensors(file: Path) -> dict[str, LazyTensor]:
    data = np.memmap(file, np.uint8, mode="r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    if start > len(data):
        raise ValueError(f"{file} is cut off: its header needs {start} bytes, the file has {len(data)}")
    try:
        header = json.loads(data[8:start].tobytes())
        header.pop("__metadata__", None)
        entries = {
            name: (str(entry["dtype"]), tuple(map(int, entry["shape"])), *map(int, entry["data_offsets"]))
            for name, entry in header.items()
        }
        needed = start + max((end for *_, end in entries.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: its safetensors header cannot be read ({error!r})") from error
    if needed != len(data):
        what = "cut off" if needed > len(data) else "damaged"
        raise ValueError(f"{file} is {what}: its header speaks of {needed} bytes, the file has {len(data)}")
    return {name: _mapped(file, name, data[start:], *entry) for name, entry in entries.items()}


def _mapped(file: Path, name: str, data: np.ndarray, kind: str, shape: tuple, begin: int, end: int) -> MappedTensor:
    if kind not in _SAFETENSORS_TYPES:
        raise ValueError(f"{file}: {name} has type {kind}, known are {', '.join(_SAFETENSORS_TYPES)}")
    dtype = np.dtype(_SAFETENSORS_TYPES[kind])
    if min(shape, default=0) < 0 or not 0 <= begin <= end or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{file} is damaged: {name} {kind} {shape} cannot lie in bytes {begin} to {end}")
    return MappedTensor(data[begin:end], dtype, shape)


def _may_be_torch(file: Path) -> bool:
    """Whether a zip file holds a pickle of torch.save, or is cut off, so that its list of contents cannot tell."""
    if not zipfile.is_zipfile(file):
        return True
    try:
        with zipfile.ZipFile(file) as opened:
            return any(name.endswith("/data.pkl") for name in opened.namelist())
    except zipfile.BadZipFile:
        return True


def _open_torch(file: Path) -> dict[str, Any]:
    zipped = kind_of(file) == TORCH
    if zipped and not zipfile.is_zipfile(file):
        raise ValueError(
            f"{file} is cut off: it starts as a torch file, and the list of contents at its end is missing"
        )
    try:
        content = _load(file, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file} is refused: it is damaged, or it holds more than tensors, numbers and texts, and loading the rest "
            "would run code from the file. Download it again; or, where you trust it, save its tensors alone as "
            "{name: tensor} with torch.save or as safetensors, and convert that file"
        ) from error
    except Exception as error:  # a damaged pickle can make torch raise nearly anything
        says = str(error).strip().splitlines() or [repr(error)]
        raise ValueError(f"{file} is damaged or no file of tensors; torch says: {says[0]}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{file} holds a {type(content).__name__}; needed is a mapping of names to tensors")
    return _wrapped(content)


def _load(file: Path, mmap: bool) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        if file.suffix == ".safetensors":  # torch.load goes by this ending, so it gets the file under another name
            link = Path(folder) / "file.pt"
            link.symlink_to(file.resolve())
            file = link
        return torch.load(file, mmap=mmap, weights_only=True, map_location="cpu")


def _wrapped(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The same mapping with its plain tensors wrapped, and so for mappings inside."""
    wrapped: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            value = _wrapped(value)
        elif isinstance(value, torch.Tensor) and value.layout is torch.strided and value.dtype in _TORCH_TYPES:
            value = TorchTensor(value.detach())
        wrapped[str(name)] = value
    return wrapped
