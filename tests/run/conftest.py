"""What the tests around a run share."""

import signal

import pytest

from steady_jax.run.interrupt import ENDINGS, Interrupt


@pytest.fixture
def listening():
    """An interrupt that hears the signals of this process, even where it was told to ignore them."""
    before = {ending: signal.getsignal(ending) for ending in ENDINGS}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    interrupt = Interrupt()
    interrupt.listen()
    yield interrupt
    for ending, handler in before.items():
        signal.signal(ending, handler)
