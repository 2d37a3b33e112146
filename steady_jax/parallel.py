"""Several processes that work together: each finds its part, and all of them know of each other."""

from collections.abc import Sequence
from typing import TypeVar

import jax

AUTO = "auto"
WEEK = 7 * 24 * 3600  # seconds; the first process to end waits for the last

Item = TypeVar("Item")


def connect(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the processes of a run, before anything else of JAX is used; alone where nothing is given.

    Args:
        coordinator: host:port at which process 0 listens; "auto" takes everything from the cluster (SLURM, GKE, TPU
            pods, Open MPI).
        processes: how many there are.
        process: which of them this is.
    Raises:
        ValueError: numbers that do not fit, or only some of them.
    """
    if coordinator is None:
        if (processes, process) != (None, None):
            raise ValueError(
                f"several processes need a coordinator (host:port of process 0, or {AUTO!r} on a cluster), "
                f"got none with processes {processes} and process {process}"
            )
        return
    if coordinator != AUTO and (processes is None or process is None or not 0 <= process < processes):
        raise ValueError(
            f"a coordinator needs processes and 0 <= process < processes, got {processes} and {process}; "
            f"coordinator {AUTO!r} takes them from the cluster"
        )
    numbers = {} if coordinator == AUTO else {"num_processes": processes, "process_id": process}
    address = None if coordinator == AUTO else coordinator
    jax.distributed.initialize(address, shutdown_timeout_seconds=WEEK, **numbers)


def share(items: Sequence[Item]) -> list[Item]:
    """The items of this process: every process takes every so many, so that the parts are alike."""
    return list(items[jax.process_index() :: jax.process_count()])
