"""One step of some networks from the gradients of micro-batches."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from einops import rearrange
from flax import nnx

from steady_jax.program import Program
from steady_jax.shapes import Array
from steady_jax.train.networks import Learner, laid_out
from steady_jax.train.optimiser import updated
from steady_jax.train.stage import Metrics
from steady_jax.train.state import Trained, TrainState

Gradients = Mapping[str, nnx.Module]  # by the name of the network


class Update:
    """The optimisers of a stage and what is compiled of them.

    Args:
        learners: the networks by name.
        state: abstract, with its shardings, from `networks.abstract_state`.
        micro_batches: pieces that a batch is worked off in, one after the other: less memory, the same gradient.
    """

    def __init__(self, learners: Mapping[str, Learner], state: TrainState, micro_batches: int) -> None:
        self.micro_batches = micro_batches
        places = jax.tree.map(lambda leaf: leaf.sharding, state)
        self.programs = {
            "advance": Program(lambda step: step + 1, donate=[0], results=places.step),
            "cut": Program(functools.partial(_piece, micro_batches)),
        }
        for name, learner in learners.items():
            results = (places.networks[name], None)
            self.programs[f"update_{name}"] = Program(_updater(learner), donate=[0], results=results)
            self.programs[f"add_{name}"] = Program(_add, donate=[0])

    def __call__(
        self,
        state: TrainState,
        step: int,
        names: Sequence[str],
        gradients_of: Callable[[int], tuple[Gradients, Metrics]],
    ) -> tuple[TrainState, Metrics]:
        """Updates the networks `names`; the state's step is left alone, see `advance`.

        Args:
            state: used up where it changes.
            step: steps done before.
            gradients_of: of a micro-batch, counted from 0, float32.
        Returns: the state, and metrics averaged over micro-batches together with the gradients' norms.
        """
        total, metrics = gradients_of(0)
        for piece in range(1, self.micro_batches):
            more, more_metrics = gradients_of(piece)
            total = {name: self.programs[f"add_{name}"](total[name], more[name]) for name in names}
            metrics = jax.tree.map(lambda a, b: a + b, metrics, more_metrics)
        metrics = {name: value / self.micro_batches for name, value in metrics.items()}
        networks = dict(state.networks)
        for name in names:
            share = np.float32(1 / self.micro_batches)
            networks[name], norm = self.programs[f"update_{name}"](networks[name], total[name], share, np.int32(step))
            metrics[f"{name}/gradient_norm"] = norm
        return TrainState(state.step, networks), metrics

    def advance(self, state: TrainState) -> TrainState:
        """The state with one more step done."""
        return TrainState(self.programs["advance"](state.step), state.networks)

    def piece(self, batch: Mapping[str, Array], index: int) -> Mapping[str, Array]:
        """One micro-batch. Every device gives items of its own, so none has to move."""
        return batch if self.micro_batches == 1 else self.programs["cut"](dict(batch), np.int32(index))


def check_batch(batch: int, micro_batches: int, devices: int) -> None:
    """Raises ValueError if a batch does not make equal micro-batches on all devices that share items."""
    if micro_batches < 1:
        raise ValueError(f"accumulate must be at least 1 micro-batch, got {micro_batches}")
    if batch % (micro_batches * devices):
        raise ValueError(
            f"a batch is shared equally by {devices} devices (mesh.data * mesh.fsdp) in {micro_batches} micro-batches, "
            f"got {batch} items; change batch, accumulate or mesh"
        )


def _piece(micro_batches: int, batch: Mapping[str, Array], index: Array) -> Mapping[str, Array]:
    return {name: rearrange(x, "(m a) ... -> m a ...", a=micro_batches)[:, index] for name, x in batch.items()}


def _add(total: Any, more: Any) -> Any:
    return laid_out(jax.tree.map(lambda a, b: a + b, total, more))


def _updater(learner: Learner) -> Callable[..., tuple[Trained, Array]]:
    optimiser = learner.optimiser.make(learner.updates)

    def update(trained: Trained, gradients: nnx.Module, share: Array, step: Array) -> tuple[Trained, Array]:
        gradients = jax.tree.map(lambda leaf: leaf * share, gradients)
        trained, norm = updated(trained, gradients, optimiser, learner.optimiser, step)
        return trained, norm

    return update
