"""Ctrl-C, SIGTERM and a closed terminal, so that none of them is ever lost."""

import contextlib
import signal
from collections.abc import Iterator

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The process was asked to end, and all that it made is saved."""


class Interrupt:
    """Raises KeyboardInterrupt when the process is asked to end, and remembers it.

    An exception alone is not enough: where a signal arrives inside a callback of a library, Python drops it; and work
    that must not be torn holds it back.
    """

    def __init__(self) -> None:
        self.asked = False
        self._held = False

    def listen(self) -> None:
        """Takes over the signals that end a process, but those that whoever started it told it to ignore."""
        for ending in ENDINGS:
            if signal.getsignal(ending) != signal.SIG_IGN:
                signal.signal(ending, self._on_signal)

    def check(self) -> None:
        """Raises KeyboardInterrupt if the process was asked to end; call it between stages of work."""
        if self.asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within it, being asked once waits for `check`; being asked again raises at once."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _on_signal(self, *_: object) -> None:
        again, self.asked = self.asked, True
        if again or not self._held:
            raise KeyboardInterrupt
