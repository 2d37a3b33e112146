"""Conversion tables: one `Rule` per PyTorch tensor (or per stack of tensors, one per layer), applied in both
directions.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

LAYER = "{layer}"
DTYPES = ("float32", "float16", "bfloat16")  # of tensors that can be converted


class Tensor(Protocol):
    """A PyTorch tensor known by shape and dtype, and read only when asked."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the axes of one tensor move. `to_flax` and `to_torch` undo each other."""

    to_flax: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


def _permuted(*axes: int) -> Layout:
    inverse = tuple(axes.index(axis) for axis in range(len(axes)))
    return Layout(lambda array: array.transpose(axes), lambda array: array.transpose(inverse))


same = Layout(lambda array: array, lambda array: array)
linear = _permuted(1, 0)  # (out, in) -> (in, out)
conv2d = _permuted(2, 3, 1, 0)  # (o, i, h, w) -> (h, w, i, o)
conv3d = _permuted(2, 3, 4, 1, 0)  # (o, i, t, h, w) -> (t, h, w, i, o)
squeezed = Layout(lambda array: array[0], lambda array: array[None])  # (1, ...) -> (...)
per_channel = Layout(lambda array: array.reshape(-1), lambda array: array.reshape(-1, 1, 1, 1))  # (c, 1, 1, 1) -> (c,)
per_channel_2d = Layout(lambda array: array.reshape(-1), lambda array: array.reshape(-1, 1, 1))  # (c, 1, 1) -> (c,)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One line of a table.

    `torch` is the exact PyTorch name; with "{layer}" in it, the Flax array is the stack of layers 0, 1, ...
    `path` is the Flax path (see steady_jax.parameters). `layout` moves the axes of one tensor, before it is stacked.
    """

    torch: str
    path: str
    layout: Layout

    def torch_names(self, flax_shape: tuple[int, ...]) -> list[str]:
        """The PyTorch names that make up a Flax array of this shape."""
        layers = flax_shape[0] if LAYER in self.torch else 1
        return [self.torch.replace(LAYER, str(layer)) for layer in range(layers)]

    def torch_shape(self, flax_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of each PyTorch tensor that goes into a Flax array of this shape."""
        one = flax_shape[1:] if LAYER in self.torch else flax_shape
        return self.layout.to_torch(np.broadcast_to(np.empty((), np.int8), one)).shape


def torch_shapes(rules: Iterable[Rule], parameters: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the PyTorch tensors that belong to the Flax `parameters` (path -> anything with a shape).

    Raises:
        ValueError: a path without a rule, a rule without a path, or two rules for one name. The table itself is wrong
            then.
    """
    rules = list(rules)
    paths = [rule.path for rule in rules]
    wrong = sorted(set(paths) ^ set(parameters)) + sorted({path for path in paths if paths.count(path) > 1})
    if wrong:
        raise ValueError(f"table and network must name the same parameters, once each; they differ in {wrong}")
    shapes: dict[str, tuple[int, ...]] = {}
    for rule in rules:
        shape = tuple(parameters[rule.path].shape)
        for name in rule.torch_names(shape):
            if name in shapes:
                raise ValueError(f"two rules of the table read {name}")
            shapes[name] = rule.torch_shape(shape)
    return shapes


def layers(names: Iterable[str], rule: str) -> int:
    """Layers that PyTorch names tell, for a rule's name such as "blocks.{layer}.norm1.weight"; names without a number
    in the layer's place tell none.
    """
    numbered = re.compile(re.escape(rule.split(LAYER)[0]) + r"([0-9]+)\.")
    return 1 + max((int(found[1]) for found in map(numbered.match, names) if found), default=-1)


def problems(rules: Iterable[Rule], parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """Everything that keeps `tensors` (PyTorch name -> tensor) from filling `parameters`, one line each; empty if they
    fit.
    """
    rules = list(rules)
    expected = torch_shapes(rules, parameters)
    found = [f"missing {name} {shape}" for name, shape in expected.items() if name not in tensors]
    found += [f"unknown {name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if name not in expected]
    for name, shape in expected.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            found.append(f"{name} has shape {tuple(tensor.shape)}, the network needs {shape}")
        if np.dtype(tensor.dtype).name not in DTYPES:
            found.append(f"{name} has type {np.dtype(tensor.dtype).name}, needed is one of {', '.join(DTYPES)}")
    return found + _mixed(rules, parameters, tensors)


def _mixed(rules: Iterable[Rule], parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """Stacks whose layers have types that do not combine."""
    found = []
    for rule in rules:
        names = rule.torch_names(tuple(parameters[rule.path].shape))
        kinds = {np.dtype(tensors[name].dtype).name for name in names if name in tensors}
        if {"float16", "bfloat16"} <= kinds:
            found.append(f"{rule.torch} is float16 in some layers and bfloat16 in others, which one array cannot hold")
    return found


def to_flax(
    rules: Iterable[Rule], parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (path, array) one Flax parameter at a time, in the dtype of the PyTorch tensors; call `problems` first."""
    for rule in rules:
        shape = tuple(parameters[rule.path].shape)
        names = rule.torch_names(shape)
        if LAYER not in rule.torch:
            yield rule.path, np.ascontiguousarray(rule.layout.to_flax(tensors[names[0]].read()))
            continue
        stack = np.empty(shape, np.result_type(*(tensors[name].dtype for name in names)))
        for layer, name in enumerate(names):
            stack[layer] = rule.layout.to_flax(tensors[name].read())
        yield rule.path, stack


def to_torch(rules: Iterable[Rule], arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (PyTorch name, array in PyTorch layout) one tensor at a time."""
    for rule in rules:
        array = arrays[rule.path]
        parts = array if LAYER in rule.torch else [array]
        for name, part in zip(rule.torch_names(array.shape), parts, strict=True):
            yield name, np.ascontiguousarray(rule.layout.to_torch(part))
