"""The JSON beside a video that says what made it: settings, seed, prompt, versions, timings; and if it is complete."""

import json
import math
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import RequiredValueError

from steady_jax.run.files import replacing

STATUSES = ("running", "complete", "interrupted")
PACKAGES = {"steady_jax": "steady-jax", "jax": "jax", "jaxlib": "jaxlib", "flax": "flax", "numpy": "numpy"}


def sidecar_path(video: str | Path) -> Path:
    """Returns where the sidecar of NAME.mp4 lies: NAME.json."""
    return Path(video).with_suffix(".json")


def write_sidecar(video: str | Path, *, status: str, **content: Any) -> Path:
    """Writes the sidecar of a video; an older one is replaced at once, so a reader never sees half a file.

    Args:
        video: NAME.mp4; it need not exist yet.
        status: one of `STATUSES`.
        **content: what made the video (config, seed, prompt, versions, timings, frames, fps), as `plain` takes it.

    Returns:
        The path of the sidecar.

    Raises:
        ValueError: an unknown status.
        TypeError: lists by name every value that JSON cannot hold. The older sidecar stays.
    """
    if status not in STATUSES:
        raise ValueError(f"status of a sidecar is one of {', '.join(STATUSES)}, got {status!r}")
    text = json.dumps(plain({"status": status, **content}), indent=2, ensure_ascii=False, allow_nan=False)
    path = sidecar_path(video)
    with replacing(path) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")
    return path


def versions(device: str) -> dict[str, str]:
    """Returns the versions of what computes a video; a package that is not installed is "unknown".

    Args:
        device: the kind of device, for example `jax.devices()[0].device_kind`.
    """
    packages = {name: _version(distribution) for name, distribution in PACKAGES.items()}
    return packages | {"python": platform.python_version(), "platform": platform.platform(), "device": device}


def plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `content` in what JSON can hold: text, numbers, true, false, null, lists, and dicts with text as keys.

    numpy scalars become numbers, tuples lists, paths text, ConfigDicts dicts, and placeholders their value or null.

    Raises:
        TypeError: lists by name every value that is something else, numbers that are not finite among them.
    """
    problems: list[str] = []
    converted = _plain(content, "", problems)
    if problems:
        raise TypeError(
            "JSON holds text, finite numbers, true, false, null, lists and dicts; convert these or leave them out:\n  "
            + "\n  ".join(problems)
        )
    return converted


def _plain(value: Any, name: str, problems: list[str]) -> Any:
    if isinstance(value, FieldReference):
        value = _referenced(value, name, problems)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, ConfigDict):
        value = dict(value.items(preserve_field_references=True))
    if isinstance(value, Mapping):
        return {key: _plain(inner, _key(name, key, problems), problems) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{name}[{index}]", problems) for index, inner in enumerate(value)]
    if not (value is None or isinstance(value, str | bool | int | float)):
        problems.append(f"{name} is a {type(value).__name__}")
    elif isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{name} is {value}")
    return value


def _referenced(reference: FieldReference, name: str, problems: list[str]) -> Any:
    try:
        return reference.get()
    except RequiredValueError:
        problems.append(f"{name} is a required placeholder without a value")
        return None


def _key(name: str, key: Any, problems: list[str]) -> str:
    path = f"{name}.{key}" if name else f"{key}"
    if not isinstance(key, str):
        problems.append(f"{path} has a {type(key).__name__} as its key")
    return path


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
