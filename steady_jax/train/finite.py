"""Finds numbers that are not finite, in metrics and in a state."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from steady_jax import parameters
from steady_jax.shapes import Array, Bool
from steady_jax.train.state import TrainState


def not_finite(metrics: Mapping[str, float]) -> list[str]:
    """The metrics that are not finite, as "name is value"."""
    return [f"{name} is {value}" for name, value in metrics.items() if not np.isfinite(value)]


def first_not_finite(state: TrainState, mesh: Mesh) -> str | None:
    """The path of the first array that holds a number that is not finite; None if there is none."""
    arrays = {
        path: array for path, array in parameters.named(state).items() if jnp.issubdtype(array.dtype, jnp.inexact)
    }
    finite = np.asarray(_each_finite(list(arrays.values()), mesh))
    return next((path for path, good in zip(arrays, finite, strict=True) if not good), None)


@functools.partial(jax.jit, static_argnames="mesh")
def _each_finite(arrays: list[Array], mesh: Mesh) -> Bool[Array, "n"]:
    flags = jnp.stack([jnp.isfinite(array).all() for array in arrays])
    return jax.lax.with_sharding_constraint(flags, NamedSharding(mesh, PartitionSpec()))  # every process reads all
