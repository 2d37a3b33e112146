"""One line that says how far a rollout is: `frames 48/160  6.2 FPS  time left 0:18`; or training, counted in steps.

Not tqdm: a log file gets carriage returns from it instead of lines, its rate includes the time of the first compile,
and its clock cannot be replaced in a test. What would be left of it is a carriage return.
"""

import dataclasses
import io
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

WINDOW = 8  # updates that the speed is measured over
SECONDS_BETWEEN_LINES = 10.0  # in a log file
CLEAR_TO_END = "\x1b[K"


@dataclasses.dataclass(frozen=True)
class Unit:
    """What is counted, and how its speed is written."""

    name: str
    speed: str  # a format of units per second


FRAMES = Unit("frames", "{:.1f} FPS")
STEPS = Unit("step", "{:.3g} steps/s")
RECORDS = Unit("records", "{:.3g} records/s")


class Progress:
    """Shows a stage or a count, of frames if not told otherwise: one rewritten line on a terminal, a line now and then
    in a log.

    A context manager. Several threads may use it, each for videos of its own.

    Args:
        total: of the run: frames of all its videos, or steps.
        unit: what is counted.
        stream: where to write, stderr if None.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        total: int,
        *,
        unit: Unit = FRAMES,
        stream: io.TextIOBase | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._clock = total, unit, clock
        self._stream = sys.stderr if stream is None else stream
        self._on_terminal = self._stream.isatty()
        self._marks: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)
        self._text = self._shown = ""
        self._shown_at = float("-inf")
        self._done = 0
        self._lock = threading.RLock()

    def stage(self, name: str) -> None:
        """Shows what is done instead of the count, for example "compiling". Its time does not count in the speed."""
        with self._lock:
            self._marks.clear()
            self._show(name, now=True)

    def update(self, done: int, note: str = "") -> None:
        """Shows that so many frames or steps of the run are done, and a note behind it."""
        with self._lock:
            self._done = done
            self._marks.append((self._clock(), done))
            text = progress_text(done, self._total, speed(self._marks), self._unit)
            self._show(f"{text}  {note}" if note else text, now=False)

    def add(self, count: int, *, were_there: bool = False) -> None:
        """Shows that so many more are done; those that were there already say nothing of the speed."""
        with self._lock:
            if were_there:
                self._marks.clear()
            self.update(self._done + count)

    def say(self, text: str) -> None:
        """Writes a line that stays, above the line that is rewritten."""
        with self._lock:
            rewritten = self._on_terminal and self._text
            if not self._on_terminal and self._text != self._shown:
                self._show(self._text, now=True)  # in a log, what happened before comes before
            self._stream.write(f"\r{text}{CLEAR_TO_END}\n" if rewritten else f"{text}\n")
            if rewritten:
                self._show(self._text, now=True)
            self._stream.flush()

    def close(self) -> None:
        """Ends the line, or writes a last one if it is not in the log yet. A second call does nothing."""
        if self._on_terminal and self._text:
            self._stream.write("\n")
        elif self._text != self._shown:
            self._stream.write(f"{self._text}\n")
        self._stream.flush()
        self._text = self._shown = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show(self, text: str, now: bool) -> None:
        self._text = text
        if self._on_terminal:
            self._stream.write(f"\r{text[: _columns(self._stream) - 1]}{CLEAR_TO_END}")
        elif now or self._clock() - self._shown_at >= SECONDS_BETWEEN_LINES:
            self._stream.write(f"{text}\n")
            self._shown, self._shown_at = text, self._clock()
        self._stream.flush()


def speed(marks: Sequence[tuple[float, int]]) -> float | None:
    """Returns units per second from the first to the last of (seconds, units done); None before it can be known."""
    if len(marks) < 2:
        return None
    (start, first), (end, last) = marks[0], marks[-1]
    return (last - first) / (end - start) if end > start and last > first else None


def progress_text(done: int, total: int, per_second: float | None, unit: Unit = FRAMES) -> str:
    """Returns the line; speed and time left are missing while the speed is None."""
    count = f"{unit.name} {done}/{total}"
    if per_second is None:
        return count
    return f"{count}  {unit.speed.format(per_second)}  time left {clock_text((total - done) / per_second)}"


def clock_text(seconds: float) -> str:
    """Returns 0:18 or 1:02:03."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _columns(stream: io.TextIOBase) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or shutil.get_terminal_size().columns
    except OSError:  # a terminal that has no size of its own
        return shutil.get_terminal_size().columns
