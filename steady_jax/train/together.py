"""What the processes of a run decide together, so that all of them do the same work in the same order.

A process that leaves the order of collective work, for example because only it got a signal, hangs all others.
"""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from steady_jax.shapes import Array, Bool


class Together:
    """Questions that every process asks at the same place of the program, and whose answer is the same in each.

    Args:
        mesh: of all devices of all processes.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._alone = jax.process_count() == 1
        self._any = jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._before = self._question(False)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes what is written once."""
        return jax.process_index() == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process. Waits for the devices, and for all processes."""
        return bool(self._question(flag))

    def heard(self, flag: bool) -> bool:
        """Whether the flag was true in any process at the call before this one; alone, at this one.

        The question waits on the devices behind the work that is queued there, so asking costs no pause between steps.
        """
        if self._alone:
            return flag
        answer = bool(self._before)
        self._before = self._question(flag)
        return answer

    @contextlib.contextmanager
    def one_fate(self) -> Iterator[None]:
        """Within it an error of one process becomes an error of all."""
        error = None
        try:
            yield
        except Exception as own:  # of any kind: the others wait for this process
            error = own
        if self.any(error is not None):
            raise error or RuntimeError("another process failed, its output says why; this one stops with it")

    def _question(self, flag: bool) -> Bool[Array | np.ndarray, ""]:
        if self._alone:
            return np.asarray(flag)
        one_each = NamedSharding(self._mesh, PartitionSpec(self._mesh.axis_names))
        own = np.full(len(self._mesh.local_devices), flag)
        flags = jax.make_array_from_process_local_data(one_each, own, (self._mesh.size,))
        return self._any(flags)
