"""Construction that all networks share: checked dtypes, linear layers, and layers stacked for `lax.scan`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

DTYPES = ("bfloat16", "float32")
REMAT = {  # what of a layer is kept for the backward pass, all else is computed again; None: everything is kept
    "none": None,
    "layer": jax.checkpoint_policies.nothing_saveable,  # only what goes into the layer
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # matrix products, but not attention
}


def check_dtype(dtype: str) -> None:
    """Raises ValueError if a network cannot compute in `dtype`."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {DTYPES}, got {dtype!r}")


def check_remat(name: str) -> None:
    """Raises ValueError if no rule of rematerialisation has this name."""
    if name not in REMAT:
        raise ValueError(f"remat must be one of {', '.join(REMAT)}, got {name!r}")


def rematerialised(layer: Callable, name: str) -> Callable:
    """The layer, for `lax.scan`, that keeps for its gradient only what the rule `name` of REMAT says."""
    # inside a scan the compiler cannot undo rematerialisation, so it needs no barriers against that
    return layer if REMAT[name] is None else jax.checkpoint(layer, policy=REMAT[name], prevent_cse=False)


def linear(inputs: int, outputs: int, dtype: str, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer with bias that computes in `dtype`."""
    return nnx.Linear(inputs, outputs, dtype=jnp.dtype(dtype), precision=precision_of(dtype), rngs=rngs)


def precision_of(dtype: str) -> jax.lax.Precision:
    """Of matrix products in `dtype`: float32 means float32, where GPUs and TPUs would take fewer bits by themselves."""
    return jax.lax.Precision.HIGHEST if dtype == "float32" else jax.lax.Precision.DEFAULT


def stacked(make: Callable[[nnx.Rngs], nnx.Module], layers: int, rngs: nnx.Rngs) -> nnx.Module:
    """`layers` modules of one kind as one module whose arrays have the layers as their first axis."""
    return nnx.split_rngs(splits=layers)(nnx.vmap(make, in_axes=0, out_axes=0))(rngs)
