"""A distillation that is killed again and again ends as if nothing had happened."""

import signal
import time

import numpy as np
import pytest
from helpers_runs import begun, environment, finished, student_of, timeless, training, write_inputs
from helpers_train import arrays

STEPS, KILLS = 60, 5


@pytest.mark.slow
def test_kill_9_at_five_random_moments_changes_nothing(tmp_path):
    inputs = write_inputs(tmp_path / "inputs")
    settings = environment(tmp_path / "compiled")
    finished(training(inputs, tmp_path / "whole", STEPS), settings)
    command, output = training(inputs, tmp_path / "killed", STEPS), tmp_path / "output"
    random = np.random.default_rng(0)
    for kill in range(KILLS):
        # once at any moment of the start, then where new steps were logged, and any time of some steps after these
        more, delay = (random.integers(4, 9), random.uniform(0, 0.15)) if kill else (0, random.uniform(0, 5))
        step = logged(tmp_path / "killed") + more  # of which the killed run before may have logged all but these
        process = begun(command, settings, output)
        while logged(tmp_path / "killed") < step:
            assert process.poll() is None, output.read_text()
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        assert process.wait() == -signal.SIGKILL, output.read_text()  # it was at work
    finished(command, settings)
    assert output.read_text().count("going on from step") >= 2
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "whole")
    assert [line["step"] for line in timeless(tmp_path / "whole")] == list(range(1, STEPS + 1))
    same(arrays(tmp_path / "killed", STEPS), arrays(tmp_path / "whole", STEPS))
    same(student_of(tmp_path / "killed" / "model"), student_of(tmp_path / "whole" / "model"))


def logged(workdir):
    """The last step whose line is whole."""
    file = workdir / "metrics.jsonl"
    return len(file.read_text().split("\n")) - 1 if file.exists() else 0


def same(found, expected):
    assert set(found) == set(expected)
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
