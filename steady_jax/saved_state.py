"""States of a video in the making, on disk: numbered folders, each of them whole or not there.

FOLDER/00000003/arrays/      orbax item
FOLDER/00000003/state.json   what the arrays belong to, written last
"""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from steady_jax import orbax_item

FORMAT = 1
ARRAYS, RECORD, DRAFT = "arrays", "state.json", ".incomplete"


@dataclasses.dataclass(frozen=True)
class SavedState:
    """The newest state of a folder."""

    path: Path
    record: Mapping[str, Any]
    shapes: Mapping[str, jax.ShapeDtypeStruct]  # of its arrays, by path

    def read(self, prefix: str, device: jax.Device) -> dict[str, jax.Array]:
        """The arrays whose path starts with `prefix`, by the rest of their path, straight onto a device.

        Raises:
            ValueError: they cannot be read.
        """
        sharding = jax.sharding.SingleDeviceSharding(device)
        wanted = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for path, leaf in self.shapes.items()
            if path.startswith(prefix)
        }
        with _named(self.path):
            arrays = orbax_item.read(self.path / ARRAYS, wanted) if wanted else {}
        return {path.removeprefix(prefix): array for path, array in arrays.items()}

    def read_to_host(self, prefix: str) -> dict[str, np.ndarray]:
        """The same, for arrays that no accelerator has room for."""
        try:
            host = jax.local_devices(backend="cpu")[0]
        except RuntimeError:  # JAX was told to run without it
            host = jax.local_devices()[0]
        return {path: np.asarray(array) for path, array in self.read(prefix, host).items()}


def save(
    folder: str | Path, record: Mapping[str, Any], arrays: Iterable[tuple[str, np.ndarray]], *, at_least: int = 0
) -> Path:
    """Writes one more state; once it is whole and on the disk, older ones are removed.

    Args:
        record: what JSON can hold.
        arrays: (path, array) pairs, pulled one at a time.
        at_least: bytes that they take; where the disk has no room for them, none is pulled.
    Raises:
        OSError: it could not be written, for example because the disk is full. The states before it are still there.
    """
    folder = Path(folder)
    older = _states(folder)
    final = folder / f"{_number(older[-1]) + 1 if older else 0:08d}"
    draft = folder / f"{final.name}{DRAFT}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < at_least:
            raise OSError(errno.ENOSPC, f"the disk has {free / 1e9:.1f} GB left, it takes {at_least / 1e9:.1f} GB")
        shutil.rmtree(draft, ignore_errors=True)
        orbax_item.write(draft / ARRAYS, arrays)
        (draft / RECORD).write_text(json.dumps({"format": FORMAT, **record}, indent=1), encoding="utf-8")
        _to_disk(draft)
        draft.rename(final)
        _sync(folder)
    except Exception as error:  # the array store has error types of its own for a disk that refuses
        shutil.rmtree(draft, ignore_errors=True)
        kept = f"the state in {older[-1]} is still there" if older else "there was none before it"
        raise OSError(f"the state {final} could not be written ({_first_line(error)}); {kept}") from error
    for path in older:
        shutil.rmtree(path, ignore_errors=True)
    return final


def latest(folder: str | Path) -> SavedState | None:
    """The newest whole state of a folder; None if there is none.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    states = _states(Path(folder))
    if not states:
        return None
    path = states[-1]
    with _named(path):
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        version = record.pop("format")
    if version != FORMAT:
        raise ValueError(f"{path} has format {version!r}, this version reads format {FORMAT}; start the video anew")
    with _named(path):
        shapes = orbax_item.shapes(path / ARRAYS)
        if not shapes:  # what orbax says of damaged descriptions
            raise ValueError("no array is described")
    return SavedState(path, record, shapes)


def remove(folder: str | Path) -> None:
    """Removes all states of a folder, and the folder."""
    shutil.rmtree(folder, ignore_errors=True)


def differences(stored: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two records: one line for each value, "name: stored -> now"."""
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        keys = [*stored, *(key for key in now if key not in stored)]
        inner = [differences(stored.get(key), now.get(key), f"{name}.{key}" if name else key) for key in keys]
        return [line for lines in inner for line in lines]
    return [] if stored == now else [f"{name}: {stored} -> {now}"]


@contextlib.contextmanager
def _named(state: Path) -> Iterator[None]:
    """Whatever keeps a state from being read becomes an error that names the state."""
    try:
        yield
    except Exception as error:  # the array store has error types of its own
        raise ValueError(
            f"the state {state} cannot be read ({type(error).__name__}: {_first_line(error)}); "
            "if it is damaged, remove it and start the video anew"
        ) from error


def _states(folder: Path) -> list[Path]:
    """Whole states, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=_number)


def _number(path: Path) -> int:
    return int(path.name)


def _to_disk(folder: Path) -> None:
    """Waits until everything in a folder has reached the disk, or a new name could outlive its content."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
