"""How arrays are cut over many devices: the one mesh, the table of parameters, and the table of activations.

A mesh has four axes. Items of a batch are cut over data and fsdp, tokens of a frame over context. Parameters, their
moments and their averages are cut over fsdp and context jointly on one dimension, so that all devices share them, and
over tensor on another. A dimension that does not divide by the devices of its axes is not cut over those that are too
many: the program stays right and takes more memory.

A program runs on a mesh inside `with jax.set_mesh(mesh):`. Without it nothing here has any effect.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AnyMesh = Mesh | AbstractMesh  # of devices, or of their numbers alone

Item = TypeVar("Item")
AXES = ("data", "fsdp", "context", "tensor")
BATCH, SHARDS, CONTEXT, TENSOR = ("data", "fsdp"), ("fsdp", "context"), "context", "tensor"
WIDTH = ("tensor", "context")  # of a memory: heads over tensor, and within them over context

# How the last dimensions of each parameter are cut; those before them (layers) are not. A pattern is the end of a path.
PARAMETERS = {
    r"(self_attn|cross_attn|attn)/[qkv]/kernel": P(SHARDS, TENSOR),
    r"(self_attn|cross_attn|attn)/o/kernel": P(TENSOR, SHARDS),
    r"(ffn|text_embed|time_embed)/(fc1|gate)/kernel": P(SHARDS, TENSOR),
    r"(ffn|text_embed|time_embed)/fc2/kernel": P(TENSOR, SHARDS),
    r"(time_project|head/linear)/kernel": P(SHARDS, None),
    r"(patch_embed|conv|conv_in|shortcut|from_latent|to_moments|attention/qkv|attention/output)/kernel": P(SHARDS),
    r"token_embedding": P(SHARDS),  # by width, so that each device looks up all words
    r"bias|position_bias|gamma|modulation|norm|norm_[qk]|norm_weight|norm_bias|attn_norm|ffn_norm": P(),  # small
}

# How activations are cut. The letters are those of steady_jax.shapes; e is the inner width of a feed-forward.
ACTIVATIONS = {
    "b f h w c": P(BATCH),
    "i b f h w c": P(None, BATCH),  # of several calls, or blocks
    "b f d": P(BATCH),
    "b f t d": P(BATCH, None, CONTEXT),
    "b f t e": P(BATCH, None, CONTEXT, TENSOR),
    "b f t n h": P(BATCH, None, CONTEXT, TENSOR),
    "b t n h": P(BATCH, None, TENSOR),
    "b s n h": P(BATCH, None, TENSOR),  # keys and values of a prompt or a memory: every device has all tokens
    "b t c": P(BATCH),  # embeddings of prompts
    "l b t n h": P(None, BATCH, None, TENSOR),  # keys and values of prompts
    # a memory and what is written to it: cut by width, so that writes and evictions stay on their device
    "b f s d": P(BATCH, None, None, WIDTH),
    "b s d": P(BATCH, None, WIDTH),
    "l b s d": P(None, BATCH, None, WIDTH),
}


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with the axes data, fsdp, context and tensor, over all the devices.

    Args:
        sizes: devices along each axis; an axis left out has 1, and one may be -1: what is left.
        devices: to use, also those of `jax.experimental.topologies`; None: all devices of all processes.
    Raises:
        ValueError: an unknown axis, a size below 1, or sizes that do not make up the number of devices.
    """
    count = len(jax.devices() if devices is None else devices)
    asked = ", ".join(f"{axis} {size}" for axis, size in sizes.items()) or "none"
    unknown = [axis for axis in sizes if axis not in AXES]
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    if unknown or len(open_axes) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"a mesh has the axes {', '.join(AXES)} of size 1 or more, one may be -1; got {asked}")
    fixed = math.prod(size for size in sizes.values() if size != -1)
    full = dict.fromkeys(AXES, 1) | dict(sizes) | dict.fromkeys(open_axes, count // fixed)
    if math.prod(full.values()) != count:
        raise ValueError(
            f"the sizes of a mesh must multiply to the number of devices, {count}, got {asked}; "
            "change one of them, or set one to -1: what is left"
        )
    # Auto: the compiler completes what is not said. Explicit axes, JAX's default, refuse the writes to a memory.
    return Mesh(_arranged(tuple(full.values()), devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _arranged(sizes: tuple[int, ...], devices: Sequence[jax.Device] | None) -> np.ndarray:
    """Devices in the shape of a mesh, neighbours near each other."""
    try:
        return mesh_utils.create_device_mesh(sizes, devices)
    except NotImplementedError:  # 8 x 2 of a slice of 4 x 4: an axis of the slice has to be divided
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)


def shardings(tree: Any, mesh: AnyMesh, cut: bool = True) -> Any:
    """Where the arrays of networks live: a `NamedSharding` for every leaf.

    Args:
        tree: parameters, or anything that holds them by their paths: optimiser states, averages, a whole training
            state. Leaves have shapes; scalars lie on every device.
        cut: False lays all of it whole on every device (weights, where only optimiser states are cut).
    Raises:
        ValueError: lists all paths that the table does not know.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    paths = [path_of(key) for key, _ in leaves]
    unknown = [path for path, (_, leaf) in zip(paths, leaves, strict=True) if leaf.ndim and not rules(path)]
    if unknown:
        raise ValueError(
            f"{len(unknown)} parameters have no rule in steady_jax.parallel.PARAMETERS, add one:\n  "
            + "\n  ".join(unknown)
        )
    found = (sharding(path, leaf.shape, mesh, cut) for path, (_, leaf) in zip(paths, leaves, strict=True))
    return jax.tree.unflatten(structure, list(found))


def sharding(path: str, shape: tuple[int, ...], mesh: AnyMesh, cut: bool = True) -> NamedSharding:
    """Where one array lives, by the end of its path, such as "blocks/self_attn/q/kernel"."""
    if not cut or not shape:
        return NamedSharding(mesh, P())
    last = tuple(rules(path)[0])[-len(shape) :]
    return NamedSharding(mesh, fitted(shape, P(*[None] * (len(shape) - len(last)), *last), mesh))


def rules(path: str) -> list[P]:
    """All rules of the table that match the end of a path."""
    return [spec for pattern, spec in PARAMETERS.items() if re.search(rf"(^|/)({pattern})$", path)]


def replicated(mesh: AnyMesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: AnyMesh) -> NamedSharding:
    """Items, the first dimension, cut over data and fsdp."""
    return NamedSharding(mesh, P(BATCH))


def filled_up(items: Sequence[Item], mesh: AnyMesh) -> list[Item]:
    """The items, and the first ones again until all devices that share a batch have as many."""
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    return [items[number % len(items)] for number in range(-(-len(items) // rows) * rows)]


def activation_sharding(shape: tuple[int, ...], layout: str, mesh: AnyMesh) -> NamedSharding:
    """Where an activation of one of the layouts in ACTIVATIONS lives."""
    return NamedSharding(mesh, _spec(shape, layout, mesh))


def constrain(x: jax.Array, layout: str) -> jax.Array:
    """Says to the compiler how x is cut; without a mesh, x as it is.

    Args:
        layout: the letters of x's shape, a name in ACTIVATIONS.
    """
    mesh = mesh_in_use()
    return x if mesh is None else jax.lax.with_sharding_constraint(x, _spec(x.shape, layout, mesh))


def per_device(function: Callable[..., jax.Array], arguments: Sequence[Any], layouts: Sequence[str]) -> jax.Array:
    """Calls a function on each device's own pieces, for kernels that the compiler cannot cut; without a mesh, once.

    Args:
        function: arrays -> array, in the layout of the first argument.
        arguments: whole arrays; also pytrees, where the layout is "".
        layouts: of each argument, names in ACTIVATIONS; "": every device gets all of it.
    """
    mesh = mesh_in_use()
    if mesh is None:
        return function(*arguments)
    named = zip(arguments, layouts, strict=True)
    specs = tuple(_spec(x.shape, layout, mesh) if layout else P() for x, layout in named)
    # check_vma off: Pallas kernels do not say over which axes their results vary
    return jax.shard_map(function, in_specs=specs, out_specs=specs[0], check_vma=False)(*arguments)


def all_tokens(x: jax.Array, tokens: int) -> jax.Array:
    """Inside `per_device`: pieces [b, f, t, n, h] of frames of `tokens` tokens, put together on every device.

    Gradients go the other way: each device gets the sum of its own piece, not of everything.
    """
    return x if x.shape[2] == tokens else jax.lax.all_gather(x, CONTEXT, axis=2, tiled=True)


def mesh_in_use() -> AbstractMesh | None:
    """The mesh of `jax.set_mesh`; None where there is none, has one device, or each device's program is written out."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or mesh.size == 1 or mesh.manual_axes else mesh


def fitted(shape: tuple[int, ...], spec: P, mesh: AnyMesh) -> P:
    """The spec without the axes by which a dimension does not divide; of several axes, the first ones that do stay."""

    def fit(size: int, axes: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
        axes = (axes,) if isinstance(axes, str) else axes or ()
        while size % math.prod(mesh.shape[axis] for axis in axes):
            axes = axes[:-1]
        return axes or None

    return P(*(fit(size, axes) for size, axes in zip(shape, (*spec, *[None] * len(shape)), strict=False)))


def path_of(key: tuple) -> str:
    """A path of `jax.tree_util` as names joined by "/", without the last step into a `nnx` variable."""
    return jax.tree_util.keystr(key, simple=True, separator="/").removesuffix("/value")


def join(text: str | None) -> None:
    """Joins the processes of one program, before anything is computed.

    Args:
        text: "auto" asks the cluster (SLURM, Open MPI, GKE, TPU pods: what JAX knows);
            "HOST:PORT,RANK/COUNT" names process 0's address, this process's number and how many there are; None: alone.
    Raises:
        ValueError: another text, or no cluster for "auto".
    """
    if text is None:
        return
    forms = 'say "HOST:PORT,RANK/COUNT" (10.0.0.1:8476,0/4 is the first of 4), or "auto" on SLURM, GKE or a TPU pod'
    if text == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(f"no cluster was found to join ({error}); {forms}") from error
        return
    found = re.fullmatch(r"(.+:\d+),(\d+)/(\d+)", text)
    if found is None or int(found[2]) >= int(found[3]):
        raise ValueError(f"RANK must lie in 0..COUNT - 1, got {text!r}; {forms}")
    jax.distributed.initialize(found[1], num_processes=int(found[3]), process_id=int(found[2]))


def leave() -> None:
    """Ends what `join` began; waits until all processes are here."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def _spec(shape: tuple[int, ...], layout: str, mesh: AnyMesh) -> P:
    if len(shape) != len(layout.split()):
        raise ValueError(f"layout {layout!r} has {len(layout.split())} letters, got an array of shape {shape}")
    return fitted(shape, ACTIVATIONS[layout], mesh)
