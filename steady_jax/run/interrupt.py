"""Ctrl-C, SIGTERM and a closed terminal, so that none of them is ever lost."""

import signal

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Raises KeyboardInterrupt when the process is asked to end, and remembers it.

    An exception alone is not enough: where a signal arrives inside a callback of a library, Python drops it.
    """

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """Takes over the signals that end a process, but those that whoever started it told it to ignore."""
        for ending in ENDINGS:
            if signal.getsignal(ending) != signal.SIG_IGN:
                signal.signal(ending, self._on_signal)

    def check(self) -> None:
        """Raises KeyboardInterrupt if the process was asked to end; call it between stages of work."""
        if self.asked:
            raise KeyboardInterrupt

    def _on_signal(self, *_: object) -> None:
        self.asked = True
        raise KeyboardInterrupt
