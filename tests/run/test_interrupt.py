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


@pytest.fixture
def listening(restored):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    interrupt = Interrupt()
    interrupt.listen()
    return interrupt


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_waits_until_what_must_not_be_torn_is_over(listening):
    done = []
    with listening.held():
        press_ctrl_c()
        done.append("not torn")
    assert listening.asked
    with pytest.raises(KeyboardInterrupt):
        listening.check()
    assert done == ["not torn"]


def test_a_second_signal_does_not_wait(listening):
    with listening.held():
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_once_over_a_signal_is_raised_again_at_once(listening):
    with listening.held():
        pass
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_an_error_ends_what_is_held(listening):
    with pytest.raises(ValueError, match="broken"), listening.held():
        raise ValueError("broken")
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_who_listens_to_no_signal_can_be_asked_to_end_too():
    interrupt = Interrupt()
    with interrupt.held():
        interrupt.asked = True
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
