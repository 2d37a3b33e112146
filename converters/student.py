"""Files of distilled students: which weights to take from them, under which names; and the way back.

A student file is a dict with `generator` and/or `generator_ema`, whose names start with "model." and may hold fragments
that training wrappers left; or it is a bare dict of tensors.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.source import LazyTensor

GENERATOR, GENERATOR_EMA = "generator", "generator_ema"
BARE = "bare state dict"
CHOICES = ("auto", GENERATOR, GENERATOR_EMA)
PREFIX = "model."
WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")


@dataclasses.dataclass(frozen=True)
class Weights:
    """One network's tensors out of a file."""

    tensors: Mapping[str, LazyTensor]
    taken: str  # GENERATOR, GENERATOR_EMA or BARE
    ignored: tuple[str, ...] = ()  # what else the file holds


def plain_name(name: str) -> str:
    """A tensor's name without what training put around the network, for example "model._orig_mod.head.head.bias"."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix(PREFIX)


def select(content: Mapping[str, Any], choice: str = "auto") -> Weights:
    """Takes one set of weights out of a file's content and gives its tensors plain names.

    Args:
        content: from `source.open_file`.
        choice: "generator", "generator_ema", or "auto": the averaged weights if the file has them. A bare dict leaves
            no choice.
    Raises:
        ValueError: the chosen weights are not there, hold something else than tensors, or two names become one.
    """
    if choice not in CHOICES:
        raise ValueError(f"weights must be one of {CHOICES}, got {choice!r}")
    present = [name for name in (GENERATOR_EMA, GENERATOR) if isinstance(content.get(name), Mapping)]
    if not present:
        return Weights(_plain(content), BARE)
    taken = present[0] if choice == "auto" else choice
    if taken not in present:
        raise ValueError(f"the file has no weights {choice!r}, it holds {sorted(content)}; choose one of {present}")
    return Weights(_plain(content[taken]), taken, tuple(sorted(name for name in content if name != taken)))


def export(file: Path, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes tensors in original PyTorch names as a student file: {"generator_ema": {"model.<name>": tensor}}.

    `select` reads it back to the bit. All tensors are in memory while torch writes them.

    Raises:
        ValueError: the file exists. Nothing is overwritten.
        OSError: torch could not write the file, for example because the disk is full.
    """
    if file.exists():
        raise ValueError(f"{file} exists and is never overwritten; name another file or remove it")
    content = {GENERATOR_EMA: {PREFIX + name: to_torch(array) for name, array in tensors}}
    try:
        torch.save(content, file)
    except RuntimeError as error:  # what torch makes of any error of the file system
        raise OSError(f"{file} cannot be written, is the disk full? torch says: {error}") from error


def to_torch(array: np.ndarray) -> torch.Tensor:
    """A PyTorch tensor with the array's numbers and type, also bfloat16, which numpy knows through ml_dtypes only."""
    array = np.array(array)  # torch wants to own what it may write to
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _plain(content: Mapping[str, Any]) -> dict[str, LazyTensor]:
    strange = [
        f"{name} ({type(value).__name__})" for name, value in content.items() if not isinstance(value, LazyTensor)
    ]
    if strange or not content:
        raise ValueError(f"a set of weights must hold tensors by name and nothing else, found {strange or 'nothing'}")
    full_names: dict[str, list[str]] = {}
    for name in content:
        full_names.setdefault(plain_name(name), []).append(name)
    clashes = [names for names in full_names.values() if len(names) > 1]
    if clashes:
        raise ValueError(f"these tensors have one name once wrapper names are taken off, so which to take? {clashes}")
    return {name: content[full[0]] for name, full in full_names.items()}
