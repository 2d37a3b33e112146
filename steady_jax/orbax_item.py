"""One orbax item on disk, written and read a few parameters at a time.

A whole-tree save holds every array twice; here memory holds the largest parameter about twice while writing, and one
parameter besides the finished ones while reading.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp

COMMITTED = "commit_success.txt"
CHUNK_BYTES = 64 * 2**20  # one piece on disk: what is read at least when a parameter is restored in shards
GROUP_BYTES = 64 * 2**20  # neighbouring parameters up to this size are written and read together


def write(item: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes (path, array) pairs, which are pulled one at a time and let go once they are written."""
    item = item.absolute()  # orbax takes absolute paths only
    with _options():
        for group in _groups(arrays):
            ocp.partial.save(item, _nested(group))
        ocp.partial.finalize(item)
    # orbax notes where it wrote, which is a draft on this machine; the file is read for its being there alone
    (item / COMMITTED).write_text("committed\n")


def shapes(item: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the stored parameters by path. Reads no parameter."""
    stored = _flat(ocp.metadata(item.absolute()).metadata, lambda node: hasattr(node, "shape"))
    return {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in stored.items()}


def read(item: Path, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Reads parameters by path, each in the dtype and sharding of its `ShapeDtypeStruct`, straight onto its devices."""
    arrays: dict[str, jax.Array] = {}
    with _options():
        for group in _groups(wanted.items()):
            tree = ocp.load(item.absolute(), _nested(group))
            # Waiting here lets host buffers go before the next parameters are read.
            arrays.update(jax.block_until_ready(_flat(tree, lambda node: isinstance(node, jax.Array))))
    return arrays


def _options() -> ocp.Context:
    context = ocp.Context()
    context.array.saving.use_zarr3 = False  # its writer keeps buffers: a peak of 3.4 times the largest parameter, not 2
    context.array.saving.use_compression = False  # weights hardly shrink, and reading would take longer
    context.array.saving.storage_options.chunk_byte_size = CHUNK_BYTES
    context.memory.deepcopy_host_arrays = False  # nobody changes an array while it is written
    context.pytree.loading.partial_load = True  # a few parameters at a time
    return context


def _groups(items: Iterable[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    """Joins neighbours until they reach GROUP_BYTES. A group is emptied before the next one is gathered."""
    group: dict[str, Any] = {}
    for path, array in items:
        group[path] = array
        del array  # or it would live on while the next one is made
        if sum(math.prod(one.shape) * one.dtype.itemsize for one in group.values()) >= GROUP_BYTES:
            yield group
            group.clear()
    if group:
        yield group


def _nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return tree


def _flat(tree: Any, is_leaf: Callable[[Any], bool]) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    return {jax.tree_util.keystr(key, simple=True, separator="/"): leaf for key, leaf in leaves}
