import fcntl
import io
import os
import pty
import select
import struct
import termios
import threading

import pytest

from steady_jax.run.progress import STEPS, Progress, clock_text, progress_text, speed


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


class Log(io.StringIO):
    @property
    def lines(self):
        assert self.getvalue() == "" or self.getvalue().endswith("\n")
        return self.getvalue().splitlines()


@pytest.fixture
def terminal():
    """A terminal of 30 columns: a stream to write to, and a function that returns what it was sent: so many lines."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    attributes = termios.tcgetattr(writing)
    attributes[1] &= ~termios.OPOST  # a newline stays a newline
    termios.tcsetattr(writing, termios.TCSANOW, attributes)
    stream = os.fdopen(writing, "w")

    def sent(lines=1):
        text = ""
        while text.count("\n") < lines and select.select([reading], [], [], 2)[0]:
            text += os.read(reading, 1000).decode()
        return text

    yield stream, sent
    stream.close()
    os.close(reading)


def test_the_line():
    assert progress_text(48, 160, 6.2) == "frames 48/160  6.2 FPS  time left 0:18"
    assert progress_text(9, 160, None) == "frames 9/160"
    assert [clock_text(seconds) for seconds in (-1.0, 0.0, 59.6, 61.0, 3723.0)] == [
        "0:00",
        "0:00",
        "1:00",
        "1:01",
        "1:02:03",
    ]


def test_speed_is_measured_between_the_first_and_the_last_mark():
    assert speed([]) is None
    assert speed([(5.0, 12)]) is None
    assert speed([(5.0, 12), (5.0, 24)]) is None  # no time has passed
    assert speed([(5.0, 12), (6.0, 24), (11.0, 36)]) == 4.0


def test_time_to_compile_and_old_speeds_do_not_spoil_the_estimate():
    clock, log = Clock(), Log()
    with Progress(1000, stream=log, clock=clock) as progress:
        progress.stage("compiling")
        clock.seconds += 300
        progress.update(12)
        for block, seconds in enumerate([60] * 3 + [3] * 8, 2):  # 8 updates later the slow ones are forgotten
            clock.seconds += seconds
            progress.update(12 * block)
        assert log.lines[-1].split("  ")[1] == "4.0 FPS"
        clock.seconds += 300
        progress.stage("compiling another scene")
        clock.seconds += 300
        progress.update(900)
        clock.seconds += 10
        progress.update(950)
    assert log.lines[0] == "compiling"
    assert log.lines[1] == "frames 12/1000"
    assert log.lines[-2:] == ["frames 900/1000", "frames 950/1000  5.0 FPS  time left 0:10"]


def test_a_log_gets_a_line_every_ten_seconds_and_the_last_one():
    clock, log = Clock(), Log()
    with Progress(100, stream=log, clock=clock) as progress:
        progress.stage("encoding prompt")
        progress.stage("compiling")
        for done in range(4, 84, 4):
            clock.seconds += 2
            progress.update(done)
    counts = [line.split()[1] for line in log.lines[2:]]
    assert log.lines[:2] == ["encoding prompt", "compiling"]
    assert counts == ["20/100", "40/100", "60/100", "80/100"]
    assert "\r" not in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_the_last_state_is_in_the_log_once():
    clock, log = Clock(), Log()
    with Progress(24, stream=log, clock=clock) as progress:
        for done in (8, 16, 24):
            clock.seconds += 1
            progress.update(done)
        progress.close()
    assert [line.split()[1] for line in log.lines] == ["8/24", "24/24"]


def test_a_terminal_gets_one_line_that_is_rewritten_and_never_wraps(terminal):
    stream, sent = terminal
    clock = Clock()
    with Progress(160, stream=stream, clock=clock) as progress:
        progress.stage("encoding prompt")
        progress.update(36)
        clock.seconds += 2
        progress.update(48)
        progress.close()
    assert sent() == (
        "\rencoding prompt\x1b[K"
        "\rframes 36/160\x1b[K"
        "\rframes 48/160  6.0 FPS  time \x1b[K"  # 29 of 30 columns
        "\n"
    )


def test_frames_are_added_up_whoever_made_them():
    clock, log = Clock(), Log()
    with Progress(100, stream=log, clock=clock) as progress:
        progress.add(12)
        clock.seconds += 2
        progress.add(8)
        clock.seconds += 10
        progress.update(50)
        progress.add(1)
    assert log.lines == [
        "frames 12/100",
        "frames 50/100  3.2 FPS  time left 0:16",
        "frames 51/100  3.2 FPS  time left 0:15",
    ]


def test_frames_that_were_there_already_do_not_count_as_speed():
    clock, log = Clock(), Log()
    with Progress(100, stream=log, clock=clock) as progress:
        progress.update(2)
        for _ in range(2):  # two videos go on, one right after the other
            clock.seconds += 10
            progress.add(30, were_there=True)
        clock.seconds += 10
        progress.add(10)
    assert log.lines == ["frames 2/100", "frames 32/100", "frames 62/100", "frames 72/100  1.0 FPS  time left 0:28"]


def test_several_threads_add_what_each_of_them_made():
    log = Log()

    def make(progress):
        for _ in range(500):
            progress.add(1)

    with Progress(4000, stream=log) as progress:
        threads = [threading.Thread(target=make, args=[progress]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert log.lines[-1].startswith("frames 4000/4000")


def test_what_is_said_in_a_log_comes_after_what_happened_before():
    clock, log = Clock(), Log()
    with Progress(100, stream=log, clock=clock) as progress:
        progress.say("rain.mp4  Rain")
        progress.add(12)
        clock.seconds += 2
        progress.add(12)  # too soon for a line of its own
        progress.say("note: the disk is slow")
        progress.say("wrote rain.mp4")
        clock.seconds += 2
        progress.add(12)
    assert log.lines == [
        "rain.mp4  Rain",
        "frames 12/100",
        "frames 24/100  6.0 FPS  time left 0:13",
        "note: the disk is slow",
        "wrote rain.mp4",
        "frames 36/100  6.0 FPS  time left 0:11",
    ]


def test_what_is_said_on_a_terminal_stays_above_the_line(terminal):
    stream, sent = terminal
    with Progress(100, stream=stream) as progress:
        progress.say("rain.mp4")
        assert sent() == "rain.mp4\n"
        progress.add(12)
        progress.say("a note that is longer than the line it stands in")
        progress.close()
    assert sent(lines=2) == (
        "\rframes 12/100\x1b[K\ra note that is longer than the line it stands in\x1b[K\n\rframes 12/100\x1b[K\n"
    )


def test_a_terminal_of_unknown_width_takes_the_environments(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "11")
    stream = Terminal()
    with Progress(160, stream=stream) as progress:
        progress.stage("encoding prompt")
    assert stream.getvalue() == "\rencoding p\x1b[K\n"


def test_nothing_shown_is_nothing_written_and_an_error_ends_the_line(capsys):
    with Progress(10):
        pass
    assert capsys.readouterr() == ("", "")

    def rollout():
        with Progress(10) as progress:
            progress.update(4)
            progress.update(5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollout()
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == ["frames 4/10", "frames 5/10"]


def test_steps_are_counted_like_frames_with_a_note_behind_them():
    clock, log = Clock(), Log()
    with Progress(6000, unit=STEPS, stream=log, clock=clock) as progress:
        progress.update(100, note="loss 0.5")
        clock.seconds += 10
        progress.update(119, note="loss 0.123")
        clock.seconds += 1000
        progress.stage("making samples")
        progress.update(120)
    assert log.lines == [
        "step 100/6000  loss 0.5",
        "step 119/6000  1.9 steps/s  time left 51:35  loss 0.123",
        "making samples",
        "step 120/6000",
    ]
    assert progress_text(1, 3, 0.0234, STEPS) == "step 1/3  0.0234 steps/s  time left 1:25"
