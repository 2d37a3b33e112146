"""What all stages have in common: their networks in training, frozen ones, and what they leave behind."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from steady_jax import parallel
from steady_jax.shapes import Array, Int, UInt8
from steady_jax.train import networks
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.export import export
from steady_jax.train.networks import Learner
from steady_jax.train.state import TrainState, step_key
from steady_jax.train.update import Update, check_batch


@dataclasses.dataclass(frozen=True)
class Setup:
    """What every stage is made of."""

    mesh: Mesh
    learners: Mapping[str, Learner]
    frozen: Frozen
    encoders: Encoders
    batch: int  # items of a step
    accumulate: int = 1  # micro-batches of a step
    cut: str = "all"  # see networks.start
    seed: int = 0
    copied: Mapping[str, str] = dataclasses.field(default_factory=dict)  # parts of the result by the folder they lie in
    sampling: Mapping[str, Any] | None = None  # how a student is to be sampled, see steady_jax.checkpoint.Checkpoint

    def __post_init__(self) -> None:
        check_batch(self.batch, self.accumulate, self.mesh.shape["data"] * self.mesh.shape["fsdp"])
        for learner in self.learners.values():
            learner.network.check()


class BaseStage:
    """A stage without its step: see `steady_jax.train.stage.Stage`."""

    exported: Mapping[str, str] = {}  # parts of the checkpoint folder by the network in training that they are

    def __init__(self, setup: Setup) -> None:
        self.setup, self.mesh = setup, setup.mesh
        self.frozen, self.encoders = setup.frozen, setup.encoders
        self.update = Update(setup.learners, self.abstract(), setup.accumulate)

    def start(self) -> TrainState:
        """See Stage."""
        return networks.start(self.setup.learners, self.mesh, self.setup.cut)

    def abstract(self) -> TrainState:
        """See Stage."""
        return networks.abstract_state(self.setup.learners, self.mesh, self.setup.cut)

    def held_out(self, state: TrainState) -> Mapping[str, float]:
        """See Stage."""
        return {}

    def samples(self, state: TrainState) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
        """See Stage."""
        return {}

    def export(self, state: TrainState, folder: Path) -> None:
        """See Stage. Averages are written where they are kept."""
        configs = {part: self.setup.learners[name].network.config for part, name in self.exported.items()}
        modules = {part: best(state, name) for part, name in self.exported.items()}
        export(folder, modules, configs, self.setup.copied, self.setup.sampling)

    def gradient_places(self, name: str) -> object:
        """Where the gradient of a network lies."""
        return parallel.shardings(self.abstract().networks[name].weights, self.mesh)

    def key(self, ids: Int[Array, "3"]) -> Array:
        """The random key of (step, stream, micro-batch); streams are the parts of a step that draw numbers."""
        step, stream, piece = ids
        return jax.random.fold_in(jax.random.fold_in(step_key(self.setup.seed, step), stream), piece)


def best(state: TrainState, name: str) -> object:
    """The averaged weights of a network, or its weights where no average is kept."""
    trained = state.networks[name]
    return trained.weights if trained.average is None else trained.average


def ids_of(step: int, stream: int, piece: int) -> Int[np.ndarray, "3"]:
    """See BaseStage.key."""
    return np.array([step, stream, piece], np.int32)
