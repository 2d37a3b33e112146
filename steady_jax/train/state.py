"""What training changes, as one pytree: everything that a run needs to go on is in it, but the position in the data.

Random numbers belong to (seed of the run, step) and to nothing else, so they need no state of their own.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from steady_jax.shapes import Array, Int


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trained:
    """One network in training."""

    weights: nnx.Module  # float32, whatever the network computes in
    optimiser: Any  # optax state
    average: nnx.Module | None = None  # moving average of the weights; None: none is kept


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state between two steps."""

    step: Int[Array, ""]  # steps done
    networks: Mapping[str, Trained]  # by name: "generator", "critic", "vae", ...


def begin(weights: nnx.Module, optimiser: optax.GradientTransformation, averaged: bool) -> Trained:
    """A network before its first step. The average starts as a copy, so that no two leaves share a buffer."""
    return Trained(weights, optimiser.init(weights), jax.tree.map(jnp.copy, weights) if averaged else None)


def step_key(seed: int, step: Array | int) -> Array:
    """The random key of one step."""
    return jax.random.fold_in(jax.random.key(seed), step)
