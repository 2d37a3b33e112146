"""One folder that holds a whole model: a description, one orbax item per network, and the tokenizer's files.

FOLDER/checkpoint.json    format version; for every part its files; for a network its sizes, dtypes, parameter count
FOLDER/dit/               orbax item (also `vae/`, `text_encoder/`), one leaf per parameter path
FOLDER/tokenizer/         the tokenizer's files as they came

Some models come with the package, and are named instead of their folder (`folder_of`).
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from steady_jax import orbax_item, parameters

FORMAT = 1
DESCRIPTION = "checkpoint.json"
TOKENIZER = "tokenizer"
NETWORKS = ("dit", "vae", "text_encoder")
PARTS = (*NETWORKS, TOKENIZER)
SHIPPED = Path(__file__).parent / "weights"  # a folder for each model that comes with the package
PIECE_BYTES = 2**16  # of a file, read three times for a fingerprint
RUNTIME_FIELDS = ("dtype", "attention", "remat")  # of a configuration: how a network computes, not what it is
MEASURED_FIELDS = ("latent_mean", "latent_std")  # that belong to weights, as they do: any checkpoint has its own

Sharding = jax.sharding.Sharding
Shardings = Sharding | Callable[[str, jax.ShapeDtypeStruct], Sharding] | None


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a checkpoint. Sizes, dtypes and parameters are empty for the tokenizer."""

    name: str
    source: str  # where it came from
    files: Mapping[str, int]  # bytes of every file, by its path inside the part
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of the network's configuration
    dtypes: tuple[str, ...] = ()
    parameters: int = 0

    def config(self, kind: type, **runtime: Any) -> Any:
        """The configuration of the network: `kind` (DiTConfig, ...) with the stored sizes, and fields such as dtype."""
        return kind(**self.sizes, **runtime)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder and those of its parts that were asked for and found complete."""

    folder: Path
    parts: Mapping[str, Part]
    # keys of a sampling config (steady_jax.config.sampling_of) for this student, if they are known
    sampling: Mapping[str, Any] | None = None

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER


def folder_of(name: str | Path) -> Path:
    """The folder of a checkpoint: of a model that comes with the package if it is its name, else `name` is the folder.

    A name is text. A folder that happens to be called like such a model is "./NAME", or any Path.
    """
    named = isinstance(name, str) and name == Path(name).name and (SHIPPED / name / DESCRIPTION).is_file()
    return SHIPPED / name if named else Path(name)


def describe(folder: str | Path, parts: Iterable[str] = PARTS) -> Checkpoint:
    """Reads the description of a checkpoint folder and checks that nothing of it is missing. Loads no parameters.

    Args:
        folder: made by `scripts/convert.py` or a training, or the name of a model that comes with the package.
        parts: the parts the caller needs; a folder may hold more, which are neither checked nor returned.
    Raises:
        ValueError: the folder is no checkpoint; or lists the parts it lacks and the files that are missing or cut off.
    """
    folder, parts = folder_of(folder), tuple(parts)
    described, sampling = _read_description(folder)
    found = {name: described[name] for name in parts if name in described}
    lacking = [f"{name}: not in this checkpoint" for name in parts if name not in found]
    lacking += [line for part in found.values() for line in _missing_files(folder / part.name, part)]
    if lacking:
        raise ValueError(
            f"the checkpoint {folder} is incomplete:\n  "
            + "\n  ".join(lacking)
            + "\nCopy the folder again, or convert again: "
            "scripts/convert.py --source BASE_FOLDER --source STUDENT_FILE --destination NEW_FOLDER"
        )
    return Checkpoint(folder, found, sampling)


def check_sizes(part: Part, config: Any, folder: str | Path) -> None:
    """Compares the stored sizes of a network with a configuration's; what was measured may differ.

    Raises:
        ValueError: lists every size that differs.
    """
    asked = sizes(config)
    # a folder that is older than a field has what was there before: the field's default
    defaults = {field.name: field.default for field in dataclasses.fields(config) if field.name in asked}
    stored = {**{name: value for name, value in defaults.items() if value is not dataclasses.MISSING}, **part.sizes}
    differing = [
        f"{name} is {stored.get(name, 'absent')}, the configuration asks for {asked.get(name, 'nothing')}"
        for name in {**stored, **asked}
        if name not in MEASURED_FIELDS and stored.get(name) != asked.get(name)
    ]
    if differing:
        raise ValueError(
            f"{part.name} of the checkpoint {folder} has another size than the configuration asks for:\n  "
            + "\n  ".join(differing)
            + "\nChange the configuration, or name a checkpoint converted from the model it asks for."
        )


def load_component(
    folder: str | Path,
    name: str,
    network: Callable[..., nnx.Module],
    config: Any,
    *,
    dtype: Any = None,
    sharding: Shardings = None,
) -> nnx.Module:
    """Builds `network(config)` with the parameters of one part, restored straight onto their devices.

    Args:
        folder: a checkpoint folder.
        name: of the part, for example "dit".
        network: class of the network, for example WanDiT.
        config: its configuration; sizes must be those of the checkpoint (see `Part.config`).
        dtype: type to cast parameters to while they are read; None keeps the stored ones.
        sharding: one sharding for all, or a function of (path, shape); None places all on the first device.
    Raises:
        ValueError: parts are missing, or lists every size that differs from the configuration's.
    """
    found = describe(folder, parts=[name])
    check_sizes(found.parts[name], config, folder)
    item = found.folder / name
    stored = orbax_item.shapes(item)
    module = parameters.filled(parameters.abstract(network, config), stored)
    wanted = {
        path: jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=_sharding(sharding, path, leaf))
        for path, leaf in stored.items()
    }
    return parameters.filled(module, orbax_item.read(item, wanted))


def fingerprint(folder: str | Path) -> str:
    """Tells the weights of a checkpoint folder from others, wherever the folder lies and whatever it is called.

    Made from the description and from pieces of every file: fast, but a change between the pieces goes unseen.
    """
    folder = folder_of(folder)
    digest = hashlib.sha256((folder / DESCRIPTION).read_bytes())
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != DESCRIPTION:
            digest.update(str(file.relative_to(folder)).encode())
            size = file.stat().st_size
            with file.open("rb") as opened:
                for place in (0, size // 2, max(0, size - PIECE_BYTES)):
                    opened.seek(place)
                    digest.update(opened.read(PIECE_BYTES))
    return f"sha256 {digest.hexdigest()}"


class StoredArrays(Mapping[str, np.ndarray]):
    """The parameters of one part by path, as numpy arrays; each is read when it is asked for, and not kept."""

    def __init__(self, folder: str | Path, name: str) -> None:
        self._item = describe(folder, parts=[name]).folder / name
        self.shapes = orbax_item.shapes(self._item)

    def __getitem__(self, path: str) -> np.ndarray:
        leaf = self.shapes[path]
        wanted = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_sharding(None, path, leaf))
        return np.asarray(orbax_item.read(self._item, {path: wanted})[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def check_new(destination: str | Path) -> None:
    """Checks that a checkpoint folder of this name can be made; makes nothing.

    Raises:
        ValueError: the destination, or what an interrupted conversion left beside it, exists; or it lies in a file.
    """
    destination = Path(destination)
    draft = _draft(destination)
    if destination.exists():
        raise ValueError(f"{destination} exists and is never overwritten; name another destination or remove it")
    if draft.exists():
        raise ValueError(f"{draft} exists: another conversion is running, or one was interrupted; then remove it")
    above = next(parent for parent in destination.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ValueError(f"{destination} cannot be made: {above} is not a folder; name another destination")


@contextlib.contextmanager
def new_folder(destination: str | Path) -> Iterator[Path]:
    """Gives a folder beside `destination` to write into, which takes that name when the block ends without an error.

    Raises:
        ValueError: `check_new` refuses the destination. Nothing is overwritten.
    """
    destination = Path(destination)
    check_new(destination)
    draft = _draft(destination)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def save_component(
    folder: Path, name: str, config: Any, arrays: Iterable[tuple[str, np.ndarray]], source: str = ""
) -> Part:
    """Writes one network, given as (path, array) pairs that are pulled one at a time.

    Args:
        folder: from `new_folder`.
        name: of the part, for example "dit".
        config: the network's configuration.
        arrays: every parameter once. An array is let go as soon as it is written.
        source: where the parameters come from, in words.
    Returns:
        What `save_description` needs to know.
    """
    item = folder / name
    orbax_item.write(item, arrays)
    stored = orbax_item.shapes(item).values()
    count = sum(math.prod(leaf.shape) for leaf in stored)
    return Part(name, source, _files(item), sizes(config), tuple(sorted({leaf.dtype.name for leaf in stored})), count)


def save_tokenizer(folder: Path, tokenizer: Path, source: str = "") -> Part:
    """Copies the files of a tokenizer's folder as they are."""
    target = folder / TOKENIZER
    target.mkdir()
    for file in sorted(tokenizer.iterdir()):
        if file.is_file():
            shutil.copyfile(file, target / file.name)
    return Part(TOKENIZER, source, _files(target))


def save_description(folder: Path, parts: Iterable[Part], sampling: Mapping[str, Any] | None = None) -> None:
    """Writes checkpoint.json, last: a folder without it is no checkpoint. `sampling` is that of Checkpoint."""
    described = {part.name: {k: v for k, v in dataclasses.asdict(part).items() if k != "name"} for part in parts}
    told = {"format": FORMAT, "parts": described, **({} if sampling is None else {"sampling": dict(sampling)})}
    (folder / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n")


def sizes(config: Any) -> dict[str, Any]:
    """The fields of a configuration that say what the network is, and not how it computes."""
    fields = [field.name for field in dataclasses.fields(config) if field.name not in RUNTIME_FIELDS]
    return {name: getattr(config, name) for name in fields}


def _draft(destination: Path) -> Path:
    return destination.with_name(destination.name + ".incomplete")


def _read_description(folder: Path) -> tuple[dict[str, Part], Mapping[str, Any] | None]:
    file = folder / DESCRIPTION
    if not file.is_file():
        raise ValueError(
            f"{folder} is not a checkpoint folder: it has no {DESCRIPTION}. "
            "Make one from PyTorch files with scripts/convert.py --source ... --destination ..."
        )
    try:
        content = json.loads(file.read_text())
        version = content["format"]
        if version == FORMAT:
            parts = {name: Part(name, **_tuples(part)) for name, part in content["parts"].items()}
            return parts, _tuples(content.get("sampling"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error!r}); copy the checkpoint again, or convert again") from error
    raise ValueError(f"{file} has format {version!r}, this version reads format {FORMAT}; convert again")


def _missing_files(root: Path, part: Part) -> list[str]:
    wrong = [
        name for name, size in part.files.items() if not (root / name).is_file() or (root / name).stat().st_size != size
    ]
    if not wrong:
        return []
    if len(wrong) == len(part.files):
        return [f"{part.name}: none of its {len(part.files)} files is there"]
    return [f"{part.name}: {len(wrong)} of {len(part.files)} files are missing or cut off, for example {wrong[0]}"]


def _sharding(sharding: Shardings, path: str, leaf: jax.ShapeDtypeStruct) -> Sharding:
    if sharding is None:
        return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return sharding if isinstance(sharding, Sharding) else sharding(path, leaf)


def _files(root: Path) -> dict[str, int]:
    return {str(file.relative_to(root)): file.stat().st_size for file in sorted(root.rglob("*")) if file.is_file()}


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
