"""Checkpoints of a run, written while training goes on: WORKDIR/checkpoints/STEP, each of them whole or not there.

STEP/state    orbax item of all arrays by parameter path; `orbax_item.shapes` and `orbax_item.read` take STEP itself, so
              that a tool reads single networks out of it
STEP/record   what JSON can hold, such as the position in the data

orbax writes a checkpoint under another name and renames it last: whatever kills the process leaves the one before.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orbax.checkpoint as ocp
from flax import traverse_util

from steady_jax import orbax_item, parameters
from steady_jax.train.state import TrainState

STATE, RECORD = "state", "record"


class Checkpoints:
    """The checkpoints of one run; a context manager. Every process calls the same functions in the same order.

    Args:
        folder: made if missing. What a killed run left half written in it is removed.
        keep: how many stay; the oldest go once a new one is whole.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """The step of the newest checkpoint, be it still on its way to the disk; None if there is none."""
        return self._manager.latest_step()

    def path(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.folder / str(step)

    def save(self, step: int, state: TrainState, record: Mapping[str, Any]) -> None:
        """Copies the state to the host, so that it may be used up, and the record, and writes them in the background.

        Args:
            step: steps done, more than in any checkpoint before.
            record: what JSON can hold.
        Raises:
            OSError: this save or the one before it failed, for example because the disk is full.
        """
        tree = traverse_util.unflatten_dict(parameters.named(state), sep="/")
        now = json.loads(json.dumps(record))  # whoever gave it goes on changing it while it is written
        items = {STATE: ocp.args.PyTreeSave(tree), RECORD: ocp.args.JsonSave(now)}
        with self._failures():
            self._manager.save(step, args=ocp.args.Composite(**items))

    def wait(self) -> None:
        """Waits until everything is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        with self._failures():
            self._manager.wait_until_finished()

    def record(self, step: int) -> Mapping[str, Any]:
        """What was recorded with a checkpoint. Raises ValueError if it is damaged."""
        with self._damage(step):
            return self._manager.restore(step, args=ocp.args.Composite(**{RECORD: ocp.args.JsonRestore()}))[RECORD]

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads a state straight into its shards, on whatever devices they lie now.

        Args:
            abstract: `jax.ShapeDtypeStruct`s with shardings.
        Raises:
            ValueError: lists all arrays that are not those of `abstract`; or the checkpoint is damaged.
        """
        with self._damage(step):
            stored = orbax_item.shapes(self.path(step))
            if not stored:  # what orbax says of a damaged description
                raise ValueError("no array is described")
        parameters.filled(abstract, stored)
        tree = traverse_util.unflatten_dict(parameters.named(abstract), sep="/")
        wanted = ocp.args.PyTreeRestore(tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree))
        with self._damage(step):
            restored = self._manager.restore(step, args=ocp.args.Composite(**{STATE: wanted}))[STATE]
        return parameters.filled(abstract, traverse_util.flatten_dict(restored, sep="/"))

    def close(self) -> None:
        """Waits as `wait` does, and ends the threads that write."""
        with self._failures():
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.nullcontext() if error is None else contextlib.suppress(OSError):  # the first error is told
            self.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the array store has error types of its own for a disk that refuses
            raise OSError(
                f"a checkpoint could not be written to {self.folder} ({_first_line(error)}); those before it are still "
                "there: make room on the disk and start again, training goes on from the newest one"
            ) from error

    @contextlib.contextmanager
    def _damage(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the array store has error types of its own
            raise ValueError(
                f"the checkpoint {self.path(step)} cannot be read ({type(error).__name__}: {_first_line(error)}); "
                "if it is damaged, remove it, and training goes on from the one before it"
            ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
