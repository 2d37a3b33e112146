"""Batches on their way from this process to the devices: rows are cut over the mesh axes data and fsdp."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from steady_jax.train.stage import Batch

ROWS = PartitionSpec(("data", "fsdp"))


def part_of_batch(mesh: Mesh) -> tuple[int, int]:
    """Which part of every global batch this process reads: (number, count of parts).

    Not always (process, processes): where an axis that does not cut the batch crosses processes, they read the same.

    Raises:
        ValueError: its devices hold rows that do not lie side by side.
    """
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    places = NamedSharding(mesh, ROWS).addressable_devices_indices_map((shards,)).values()
    own = sorted({rows.start or 0 for (rows,) in places})
    if own != list(range(own[0], own[0] + len(own))) or shards % len(own) or own[0] % len(own):
        raise ValueError(
            f"the devices of a process hold neighbouring rows of the batch, those of process {jax.process_index()} "
            f"hold parts {own} of {shards}; let data x fsdp be the outer axes of the mesh"
        )
    return own[0] // len(own), shards // len(own)


def put(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """Puts this process's rows of a batch on its devices.

    Args:
        batch: arrays [rows ...], the part of the global batch that `part_of_batch` names.
    Returns: the global batch [b ...], cut over the mesh.
    Raises:
        ValueError: the rows cannot be shared out evenly.
    """
    rows, (_, parts) = {name: len(array) for name, array in batch.items()}, part_of_batch(mesh)
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    if odd := [f"{name} has {count * parts} rows" for name, count in rows.items() if (count * parts) % shards]:
        raise ValueError(
            f"a batch is cut into data x fsdp = {shards} equal parts, {', '.join(odd)}; change the batch size or the "
            "mesh"
        )
    sharding = NamedSharding(mesh, ROWS)
    return {
        name: jax.make_array_from_process_local_data(sharding, array, (rows[name] * parts, *array.shape[1:]))
        for name, array in batch.items()
    }
