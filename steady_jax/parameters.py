"""Networks, and other pytrees, as named arrays: a module's arrays by path, and a module from named arrays.

A path joins attribute names with "/", for example "blocks/self_attn/q/kernel". Checkpoints and converters speak in
paths.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

VARIABLE_FIELD = "value"  # a Variable is a pytree node of its own, and its array's path ends with this name


def abstract(network: Callable[..., nnx.Module], *args: Any) -> nnx.Module:
    """Builds `network(*args, rngs=...)` without memory: every array is a `jax.ShapeDtypeStruct`."""
    return nnx.eval_shape(lambda: network(*args, rngs=nnx.Rngs(0)))


def random(network: Callable[..., nnx.Module], *args: Any, seed: int = 0, dtype: Any = None) -> nnx.Module:
    """Builds `network(*args, rngs=...)` with random weights, as one compiled program; `dtype` casts them."""

    def made() -> nnx.Module:
        rngs = nnx.Rngs(jax.random.key(seed, impl="rbg"))  # compiles several times faster than the default generator
        module = network(*args, rngs=rngs)
        return module if dtype is None else jax.tree.map(lambda array: array.astype(dtype), module)

    return jax.jit(made)()


def named(module: Any) -> dict[str, Any]:
    """Returns the module's arrays (or their abstract shapes) by path, in the order of the pytree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(module)
    return {_path(key): leaf for key, leaf in leaves}


def filled(module: Any, arrays: Mapping[str, Any]) -> Any:
    """Returns `module` with its arrays taken from `arrays`, whose paths and shapes must be exactly those of the module.

    Raises:
        ValueError: lists every missing, unknown and misshapen path at once.
    """
    expected = named(module)
    problems = [f"missing {path} {tuple(leaf.shape)}" for path, leaf in expected.items() if path not in arrays]
    problems += [f"unknown {path} {tuple(array.shape)}" for path, array in arrays.items() if path not in expected]
    problems += [
        f"{path} has shape {tuple(arrays[path].shape)}, the network needs {tuple(leaf.shape)}"
        for path, leaf in expected.items()
        if path in arrays and tuple(arrays[path].shape) != tuple(leaf.shape)
    ]
    if problems:
        raise ValueError(
            f"{len(problems)} parameters do not fit this network; is it a checkpoint of another size?\n  "
            + "\n  ".join(problems)
        )
    return jax.tree.unflatten(jax.tree.structure(module), [arrays[path] for path in expected])


def _path(key: tuple) -> str:
    names = jax.tree_util.keystr(key, simple=True, separator="/").split("/")
    return "/".join(names[:-1] if names[-1] == VARIABLE_FIELD else names)
