"""Networks of ours from PyTorch weights, through the converter's tables."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from converters import table, wan_dit
from steady_jax import parameters
from steady_jax.models.wan_dit import WanDiT


class InMemory:
    """A converter's tensor over an array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, tuple(array.shape), array.dtype

    def read(self) -> np.ndarray:
        return self.array


def network_from_torch(
    network: type, converter: ModuleType, weights: Mapping[str, np.ndarray], settings: Any = None, **runtime: Any
) -> Any:
    """Builds `network` with its sizes and weights taken from PyTorch tensors by name."""
    import dataclasses

    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    layout = converter.identify(shapes)
    config = dataclasses.replace(converter.config_from(shapes, layout, settings), **runtime)
    module = parameters.abstract(network, config)
    rules, named = converter.tables(config)[layout], parameters.named(module)
    tensors = {name: InMemory(array) for name, array in weights.items()}
    assert table.problems(rules, named, tensors) == []
    return parameters.filled(module, dict(table.to_flax(rules, named, tensors)))


def dit_from_torch(weights: Mapping[str, np.ndarray], settings: Any = None, **runtime: Any) -> WanDiT:
    return network_from_torch(WanDiT, wan_dit, weights, settings, **{"dtype": "float32", **runtime})
