"""What the trainer needs to know of a stage."""

import typing
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from steady_jax.shapes import Array, Float, UInt8
from steady_jax.train.state import TrainState

Batch = Mapping[str, Array]
Metrics = Mapping[str, Float[Array, ""]]


@typing.runtime_checkable
class Stage(typing.Protocol):
    """One kind of training: the networks it changes, its step, and what it shows and leaves behind.

    All functions but `export` are called by every process, in the same order.
    """

    mesh: Mesh  # of all devices that train

    def start(self) -> TrainState:
        """The state before the first step: weights random, or from checkpoint folders, straight into their shards."""
        ...

    def abstract(self) -> TrainState:
        """The same state as `jax.ShapeDtypeStruct`s with their shardings. Computes nothing."""
        ...

    def train_step(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step, queued on the devices.

        Args:
            step: steps done so far, as in state.step.
            state: used up.
            batch: the global batch, cut over the mesh.
        Returns: the state after it, and numbers to log.
        """
        ...

    def held_out(self, state: TrainState) -> Mapping[str, float]:
        """Numbers on held-out data, by name; empty if the stage has none. The state stays as it is."""
        ...

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """Clips that show how far it is, by name; empty if there is nothing to see. The state stays as it is."""
        ...

    def export(self, state: TrainState, folder: Path) -> None:
        """Writes what was trained as a checkpoint folder (see steady_jax.checkpoint) that sampling, conversion and the
        next stage read. The state stays as it is.

        Raises:
            ValueError: the folder exists.
        """
        ...
