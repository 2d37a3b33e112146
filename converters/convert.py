"""From PyTorch files to one checkpoint folder: find the networks in the sources, check everything, then write."""

import dataclasses
import math
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from flax import nnx

from converters import source, student, table, umt5, wan_dit, wan_vae
from converters.source import LazyTensor
from converters.table import Rule
from steady_jax import checkpoint, parameters
from steady_jax.checkpoint import PARTS, TOKENIZER, Part
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.text import SETTINGS_FILE, TOKENIZER_FILE

NETWORKS: dict[str, tuple[ModuleType, type[nnx.Module]]] = {
    "dit": (wan_dit, WanDiT),
    "vae": (wan_vae, WanVAE),
    "text_encoder": (umt5, UMT5Encoder),
}
FOLDERS = (".", "transformer", "vae", "text_encoder")  # of a source that may hold files of tensors
TOKENIZER_FOLDERS = ("google/umt5-xxl", "tokenizer")
TOKENIZER_FILES = (TOKENIZER_FILE, SETTINGS_FILE)  # needed to sample
TOKENIZER_SIGNS = (*TOKENIZER_FILES, "spiece.model")  # a folder with one of them is meant as a tokenizer's

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclasses.dataclass(frozen=True)
class Found:
    """One network in one file of a source."""

    name: str  # of the part
    file: Path
    layout: str
    weights: student.Weights
    settings: Mapping[str, Any] | None  # config.json beside the file

    @property
    def tensors(self) -> Mapping[str, LazyTensor]:
        return self.weights.tensors

    @property
    def source(self) -> str:
        taken = "" if self.weights.taken == student.BARE else f" ({self.weights.taken})"
        return f"{self.file.parent.resolve().name}/{self.file.name}{taken}"


@dataclasses.dataclass(frozen=True)
class Source:
    """What one source holds."""

    path: Path
    networks: tuple[Found, ...]
    tokenizer: Path | None
    unknown: tuple[Path, ...]  # files of tensors that are none of the networks


@dataclasses.dataclass(frozen=True)
class Planned:
    """One network that is going to be written."""

    found: Found
    config: Any
    rules: tuple[Rule, ...]
    shapes: Mapping[str, jax.ShapeDtypeStruct]  # of the Flax parameters by path


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that is going to be written."""

    networks: Mapping[str, Planned]
    tokenizer: Path | None


def check_parts(parts: Iterable[str]) -> None:
    """Checks the names of the parts a checkpoint is to hold.

    Raises:
        ValueError: there are none, or some are unknown.
    """
    parts = tuple(parts)
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ValueError(f"parts must be one or more of {', '.join(PARTS)}, got {unknown or 'none'}")


def locate(name: str) -> Path:
    """A source's file or folder; a hub name such as "Wan-AI/Wan2.1-T2V-1.3B" is downloaded to the hub's cache.

    Raises:
        ValueError: there is no such file, folder or repository.
    """
    if Path(name).exists():
        return Path(name)
    if not _HUB_NAME.fullmatch(name):
        raise ValueError(f"the source {name} does not exist, and is no hub name of the form owner/name")
    import huggingface_hub  # only here: local sources need no network

    try:
        return Path(huggingface_hub.snapshot_download(name))
    except (OSError, ValueError) as error:
        raise ValueError(f"the source {name} is no file or folder here, and cannot be downloaded: {error}") from error


def look_into(path: Path, weights: str = "auto") -> Source:
    """Finds the networks in a file or folder by the names of their tensors.

    Args:
        path: a folder in the original or the diffusers layout, or one file.
        weights: which weights to take from a student file, see `student.select`.
    Raises:
        ValueError: a file cannot be read, or nothing here can be converted.
    """
    folders = [path / folder for folder in FOLDERS if (path / folder).is_dir()]
    files = [path] if path.is_file() else [file for folder in folders for file in source.tensor_files(folder)]
    found = {file: _identify(file, weights) for file in files}
    tokenizers = [path / folder for folder in TOKENIZER_FOLDERS]
    tokenizer = next((one for one in tokenizers if any((one / file).is_file() for file in TOKENIZER_SIGNS)), None)
    if tokenizer is None and not any(found.values()):
        raise ValueError(
            f"{path} holds none of {', '.join(PARTS)}; files with other tensors: {_listed(found) or 'none'}"
        )
    unknown = tuple(file for file, network in found.items() if network is None)
    return Source(path, tuple(filter(None, found.values())), tokenizer, unknown)


def make_plan(sources: Iterable[Source], weights: str = "auto", parts: Iterable[str] = PARTS) -> Plan:
    """Decides what becomes of the sources and checks it; reads no tensor.

    Args:
        sources: from `look_into`. Of two with the same part, the later one wins.
        weights: as given to `look_into`.
        parts: what the checkpoint is to hold.
    Raises:
        ValueError: lists everything that is missing, unknown, misshapen or of a wrong type, of all parts; or `parts`
            are not known.
    """
    parts, sources = tuple(parts), tuple(sources)
    check_parts(parts)
    candidates, problems = _candidates(sources, parts)
    networks: dict[str, Planned] = {}
    for found in candidates:
        try:
            networks[found.name] = _planned(found, networks.get(found.name))
        except ValueError as error:
            problems.append(f"{found.name} ({found.file.name}): {error}")
    tokenizer = next((one.tokenizer for one in reversed(sources) if one.tokenizer), None)
    plan = Plan({n: networks[n] for n in NETWORKS if n in networks}, tokenizer if TOKENIZER in parts else None)
    problems += _absent(plan, parts, sources) + _misfits(plan) + _tokenizer_problems(plan.tokenizer)
    dit = networks.get("dit")
    if weights != "auto" and dit is not None and dit.found.weights.taken != weights:
        problems.append(f"dit: {dit.found.source} is a plain set of weights; drop the choice of {weights}")
    if problems:
        raise ValueError(f"{len(problems)} problems, nothing is written:\n  " + "\n  ".join(problems))
    return plan


def write(plan: Plan, destination: Path, report: Callable[[str], None] = print) -> None:
    """Writes a plan as a checkpoint folder, one parameter at a time.

    Raises:
        ValueError: the destination exists, or the disk has too little room.
    """
    with checkpoint.new_folder(destination) as folder:
        _check_room(plan, folder)
        parts = [_write_network(planned, folder, report) for planned in plan.networks.values()]
        if plan.tokenizer:
            parts.append(checkpoint.save_tokenizer(folder, plan.tokenizer, str(plan.tokenizer.name)))
            report(f"{TOKENIZER}: {len(parts[-1].files)} files from {plan.tokenizer}")
        checkpoint.save_description(folder, parts)


def _identify(file: Path, weights: str) -> Found | None:
    try:
        chosen = student.select(source.open_file(file), weights)
    except ValueError as error:
        raise ValueError(f"{error} (in {file})" if str(file) not in str(error) else str(error)) from error
    shapes = {name: tensor.shape for name, tensor in chosen.tensors.items()}
    for name, (converter, _) in NETWORKS.items():
        layout = converter.identify(shapes)
        if layout is not None:
            tensors = umt5.without_aliases(chosen.tensors) if converter is umt5 else chosen.tensors
            chosen = dataclasses.replace(chosen, tensors=tensors)
            return Found(name, file, layout, chosen, source.read_settings(file.parent))
    return None


def _candidates(sources: tuple[Source, ...], parts: tuple[str, ...]) -> tuple[list[Found], list[str]]:
    """The networks to choose from, in the order of the sources; and what keeps a source from offering just one."""
    candidates, problems = [], []
    for position, one in enumerate(sources):
        later = {found.name for other in sources[position + 1 :] for found in other.networks}
        for name in parts:
            same = [found for found in one.networks if found.name == name]
            if len(same) < 2:
                candidates += same
            elif name not in later:
                files = _listed(found.file for found in same)
                problems.append(f"{name}: {one.path} holds it in {files}; name the one you mean as the last source")
    return candidates, problems


def _planned(found: Found, before: Planned | None) -> Planned:
    converter, network = NETWORKS[found.name]
    config = _config(found, before)
    shapes = parameters.named(parameters.abstract(network, config))
    return Planned(found, config, converter.tables(config)[found.layout], shapes)


def _config(found: Found, before: Planned | None) -> Any:
    """The sizes. What shapes do not tell is in config.json, or known from an earlier source of the same sizes."""
    converter, _ = NETWORKS[found.name]
    shapes = {name: tensor.shape for name, tensor in found.tensors.items()}
    if before is not None and found.settings is None:
        try:
            inherited = converter.config_from(shapes, found.layout, before.found.settings)
        except ValueError:  # another size, which the earlier settings do not fit
            inherited = None
        if inherited == before.config:
            return inherited
    return converter.config_from(shapes, found.layout, found.settings)


def _absent(plan: Plan, parts: tuple[str, ...], sources: tuple[Source, ...]) -> list[str]:
    held = [*plan.networks, *([TOKENIZER] if plan.tokenizer else [])]
    lines = [
        f"{part}: no source holds it; add a source, or leave it out of the parts" for part in parts if part not in held
    ]
    unknown = [file for one in sources for file in one.unknown]
    return [*lines, f"files with tensors of no known network: {_listed(unknown)}"] if lines and unknown else lines


def _misfits(plan: Plan) -> list[str]:
    lines = [
        f"{name} ({planned.found.file.name}): {line}"
        for name, planned in plan.networks.items()
        for line in table.problems(planned.rules, planned.shapes, planned.found.tensors)
    ]
    configs = {name: planned.config for name, planned in plan.networks.items()}
    if {"dit", "vae"} <= configs.keys() and configs["dit"].channels != configs["vae"].channels:
        lines.append(f"dit has {configs['dit'].channels} latent channels, vae has {configs['vae'].channels}")
    if {"dit", "text_encoder"} <= configs.keys() and configs["dit"].text_width != configs["text_encoder"].width:
        lines.append(
            f"dit takes text of width {configs['dit'].text_width}, text_encoder gives {configs['text_encoder'].width}"
        )
    return lines


def _tokenizer_problems(folder: Path | None) -> list[str]:
    lacking = [name for name in TOKENIZER_FILES if not (folder / name).is_file()] if folder else []
    if not lacking:
        return []
    return [f"{TOKENIZER}: {folder} lacks {' and '.join(lacking)}; needed are {' and '.join(TOKENIZER_FILES)}"]


def _check_room(plan: Plan, folder: Path) -> None:
    tensors = [tensor for planned in plan.networks.values() for tensor in planned.found.tensors.values()]
    needed = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"the checkpoint needs {needed / 1e9:.1f} GB, {folder.parent} has {free / 1e9:.1f} GB free")


def _write_network(planned: Planned, folder: Path, report: Callable[[str], None]) -> Part:
    start, found = time.monotonic(), planned.found
    arrays = table.to_flax(planned.rules, planned.shapes, found.tensors)
    part = checkpoint.save_component(folder, found.name, planned.config, arrays, found.source)
    seconds, ignored = time.monotonic() - start, found.weights.ignored
    report(
        f"{part.name}: {part.parameters:,} parameters, {' and '.join(part.dtypes)}, from {part.source}, {seconds:.0f} s"
        + (f"; not taken: {', '.join(ignored)}" if ignored else "")
    )
    return part


def _listed(files: Iterable[Path]) -> str:
    return ", ".join(file.name for file in files)
