import os
import signal

import pytest

from steady_jax.run.interrupt import ENDINGS, Interrupt


@pytest.fixture
def restored():
    before = {ending: signal.getsignal(ending) for ending in ENDINGS}
    yield
    for ending, handler in before.items():
        signal.signal(ending, handler)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.usefixtures("restored")
def test_a_signal_is_raised_and_remembered(ending):
    signal.signal(ending, signal.SIG_DFL)
    interrupt = Interrupt()
    interrupt.check()
    interrupt.listen()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), ending)
    with pytest.raises(KeyboardInterrupt):  # also where the first one was dropped
        interrupt.check()


@pytest.mark.usefixtures("restored")
def test_what_is_to_be_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    interrupt = Interrupt()
    interrupt.listen()
    os.kill(os.getpid(), signal.SIGHUP)
    interrupt.check()
