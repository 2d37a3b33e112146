"""The numbers of a run: WORKDIR/metrics.jsonl, one line of JSON per logged step, and the same for TensorBoard.

The log belongs to the state: a restart cuts it back to what it goes on from, so a run that was killed and resumed
leaves the log of an undisturbed one in everything but `TIMES`.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from tensorboardX import SummaryWriter

from steady_jax.run.files import replacing

TIMES = ("seconds", "steps_per_second", "device_gib")  # differ from run to run
HELD_OUT = "held_out/"


class Means:
    """Means of metrics over the steps since the last line of the log; of those that some steps lack, over the others.

    Args:
        sums: as `sums` of the object that this one goes on from.
    """

    def __init__(self, sums: Mapping[str, Any] | None = None) -> None:
        self.sums: dict[str, list[float]] = {name: list(pair) for name, pair in (sums or {}).items()}  # sum, count

    def add(self, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one more step."""
        for name, value in metrics.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + value, count + 1]

    def take(self) -> dict[str, float]:
        """The means, by name; begins anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


class Log:
    """Writes the log of one run; a context manager.

    Args:
        file: NAME.jsonl. Lines of steps after `step`, and half a line at its end, are cut off.
        tensorboard: folder of TensorBoard's files.
        step: steps done so far.
        clock: seconds that only grow.
    """

    def __init__(self, file: Path, tensorboard: Path, step: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept = cut_back(file, step)
        self._file = file.open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(tensorboard), purge_step=step + 1)
        self._clock = clock
        self._begun = self._line_at = clock()
        self._line_step = step

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the numbers of training since the line before."""
        now = self._clock()
        rate = (step - self._line_step) / max(now - self._line_at, 1e-9)
        self._line_at, self._line_step = now, step
        times = {"seconds": round(now - self._begun, 3), "steps_per_second": rate, **device_memory()}
        self._write(step, {**metrics, **times})

    def held_out(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs numbers on held-out data, on a line of their own."""
        self._write(step, {f"{HELD_OUT}{name}": value for name, value in metrics.items()})

    def has_held_out(self, step: int) -> bool:
        """Whether the lines that were kept tell of held-out data at a step."""
        return any(line["step"] == step and any(name.startswith(HELD_OUT) for name in line) for line in self._kept)

    def sync(self) -> None:
        """Waits until the disk itself holds the lines: they are not to lack behind a checkpoint after a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends the files. A second call does nothing."""
        self._file.close()
        self._tensorboard.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)


def cut_back(file: Path, step: int) -> list[dict[str, Any]]:
    """Cuts a log back to what was logged up to a step, half a last line included; at once or not at all.

    Returns: the lines that stay.
    """
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")
    kept = [(line, content) for line in lines if (content := _content(line)) and content["step"] <= step]
    if (text := b"".join(line + b"\n" for line, _ in kept)) != file.read_bytes():
        with replacing(file) as partial:
            partial.write_bytes(text)
    return [content for _, content in kept]


def device_memory() -> dict[str, float]:
    """The most memory that a device of this process has held so far, where the backend tells."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if one and "peak_bytes_in_use" in one]
    return {"device_gib": max(peaks) / 2**30} if peaks else {}


def _content(line: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:  # half a line, from a kill
        return None
