import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers_train import MODEL, Ending, Regression, arrays, batches, go, lines, mesh_of

from steady_jax.run.interrupt import ENDINGS, Interrupt
from steady_jax.train.log import TIMES
from steady_jax.train.trainer import TrainerSettings

HELPERS = Path(__file__).parents[1] / "helpers_train.py"
SETTINGS = TrainerSettings(14, log_every=2, save_every=4, keep=2, held_out_every=4, sample_every=8)


@pytest.fixture(scope="module")
def stage():
    return Regression(mesh_of())


@pytest.fixture(scope="module")
def undisturbed(stage, tmp_path_factory):
    """The folder of a run that nothing happened to, and what it showed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shown = go(folder, SETTINGS, stage)
    return folder, shown


@pytest.fixture
def told():
    """An interrupt that hears the signals of this process."""
    before = {ending: signal.getsignal(ending) for ending in ENDINGS}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    interrupt = Interrupt()
    interrupt.listen()
    yield interrupt
    for ending, handler in before.items():
        signal.signal(ending, handler)


def in_child(folder, **asked):
    """Trains in a process of its own. Returns its exit status and what it showed."""
    asked = {"settings": dataclasses.asdict(SETTINGS), **asked}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(HELPERS), str(folder), json.dumps(asked)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def assert_same(folder, undisturbed):
    """The same weights, averages, moments, model and log, bit for bit."""
    whole, _ = undisturbed
    for path, array in arrays(whole, SETTINGS.steps).items():
        np.testing.assert_array_equal(array, arrays(folder, SETTINGS.steps)[path], err_msg=path)
    np.testing.assert_array_equal(np.load(whole / "model" / MODEL), np.load(folder / "model" / MODEL))
    assert timeless(folder) == timeless(whole)
    assert shown_steps(folder) == shown_steps(whole)


def timeless(folder):
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines(folder)]


def shown_steps(folder):
    return sorted(path.name for path in (folder / "samples").iterdir())


def test_a_run_leaves_checkpoints_log_samples_and_model(undisturbed):
    folder, shown = undisturbed
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["12", "14"]  # two are kept
    assert shown_steps(folder) == ["0", "8"]
    assert sorted(path.name for path in (folder / "samples" / "8").iterdir()) == ["clip_0.mp4", "clip_0.png"]
    assert json.loads((folder / "config.json").read_text())["steps"] == 14
    log = lines(folder)
    assert [line["step"] for line in log if "loss" in line] == [2, 4, 6, 8, 10, 12, 14]
    assert [line["step"] for line in log if "held_out/error" in line] == [0, 4, 8, 12]
    assert log[-1]["seconds"] > 0
    held_out = [line["held_out/error"] for line in log if "held_out/error" in line]
    assert held_out == sorted(held_out, reverse=True)  # it learns
    assert f"the model is in {folder / 'model'}" in shown


def test_a_metric_is_the_mean_of_the_steps_that_have_it(undisturbed, stage, tmp_path):
    go(tmp_path, dataclasses.replace(SETTINGS, log_every=1), stage)
    each = {line["step"]: line for line in lines(tmp_path) if "loss" in line}
    for line in lines(undisturbed[0]):
        if "loss" in line:
            pair = [each[line["step"] - 1], each[line["step"]]]
            assert line["loss"] == (pair[0]["loss"] + pair[1]["loss"]) / 2
            own = [one["third"] for one in pair if "third" in one]  # of steps 1, 4, 7, ...
            assert line.get("third") == (own[0] if own else None)


def test_a_checkpoint_holds_all_and_single_networks_can_be_read(undisturbed):
    paths = {"average/w", "optimiser/0/count", "optimiser/0/mu/w", "optimiser/0/nu/w", "weights/w"}
    assert set(arrays(undisturbed[0], 14)) == {"step", *(f"networks/line/{path}" for path in paths)}
    assert arrays(undisturbed[0], 12)["step"] == 12


@pytest.mark.parametrize("at", [0, 6, 7])  # before the first save; between saves; where samples are due
def test_sigterm_saves_and_the_same_command_goes_on_bit_for_bit(at, undisturbed, stage, told, tmp_path):
    ending = Ending(stage.mesh, end_at=at, like=stage)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, SETTINGS, ending, told)
    assert at < max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) <= at + 2
    assert not (tmp_path / "model").exists()
    shown = go(tmp_path, SETTINGS, stage)
    assert "going on from step" in shown
    assert_same(tmp_path, undisturbed)


def test_kill_9_is_like_nothing_happened(undisturbed, stage, tmp_path):
    saved = tmp_path / "checkpoints" / "8"
    status, shown = in_child(tmp_path, end_at=9, ending=signal.SIGKILL, once_there=str(saved))
    assert status == -signal.SIGKILL, shown
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')  # what a kill may leave
    assert "going on from step 8" in go(tmp_path, SETTINGS, stage)
    assert_same(tmp_path, undisturbed)


@pytest.mark.slow
def test_kill_9_at_any_moment_and_while_saving(undisturbed, tmp_path):
    for end_at in (0, 3, 5, 7, 12):
        assert in_child(tmp_path, end_at=end_at, ending=signal.SIGKILL)[0] == -signal.SIGKILL
    for _ in range(3):
        status, shown = in_child(tmp_path, kill_while_saving=True)
        assert status in (-signal.SIGKILL, 0), shown
    status, shown = in_child(tmp_path)
    assert status == 0, shown
    assert_same(tmp_path, undisturbed)
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))


def test_a_finished_run_says_so_and_makes_up_for_a_missing_model(undisturbed, stage, tmp_path):
    go(tmp_path, SETTINGS, stage)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "config.json"}
    assert f"{tmp_path} is finished: 14 steps" in go(tmp_path, SETTINGS, stage)
    (tmp_path / "model" / MODEL).rename(tmp_path / "kept.npy")
    (tmp_path / "model").rename(tmp_path / "model.incomplete")  # as of a kill while it was written
    assert "the model is in" in go(tmp_path, SETTINGS, stage)
    np.testing.assert_array_equal(np.load(tmp_path / "kept.npy"), np.load(tmp_path / "model" / MODEL))
    assert timeless(tmp_path) == timeless(undisturbed[0])
    assert (tmp_path / "checkpoints" / "14" / "state" / "_METADATA").stat().st_mtime_ns == before[
        tmp_path / "checkpoints" / "14" / "state" / "_METADATA"
    ]


def test_a_run_may_become_longer_and_its_model_is_not_overwritten(undisturbed, stage, tmp_path):
    go(tmp_path, dataclasses.replace(SETTINGS, steps=9, save_every=3, log_every=2), stage)
    first = np.load(tmp_path / "model" / MODEL)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match=r"model is from fewer steps than this run is to have, .* move it away"):
        go(tmp_path, SETTINGS, stage)
    assert (tmp_path / "metrics.jsonl").read_text() == before
    np.testing.assert_array_equal(np.load(tmp_path / "model" / MODEL), first)
    for path in (tmp_path / "model").iterdir():
        path.unlink()
    (tmp_path / "model").rmdir()
    go(tmp_path, SETTINGS, stage)
    assert_same(tmp_path, undisturbed)


def test_numbers_that_are_not_finite_stop_it_and_name_what_is_kept(tmp_path):
    with pytest.raises(FloatingPointError) as stopped:
        go(tmp_path, SETTINGS, Regression(mesh_of(), spoil_at=7))
    for part in ("step 7", "loss is inf", "networks/line/weights/w", f"{tmp_path / 'checkpoints' / '4'}"):
        assert part in str(stopped.value)
    assert "third is inf" in str(stopped.value)  # all of them are named
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["4"]
    assert lines(tmp_path)[-1]["step"] == 6
    assert np.isfinite(arrays(tmp_path, 4)["networks/line/weights/w"]).all()


def test_a_state_that_is_not_finite_is_not_saved_even_if_its_metrics_are(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"step 4: not finite: the state; .* networks/line/weights/w.* no check"
    ):
        go(tmp_path, SETTINGS, Regression(mesh_of(), spoil_quietly_at=4))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_data_that_ends_is_an_error_that_counts(stage, tmp_path, monkeypatch):
    monkeypatch.setattr("helpers_train.batches", lambda mesh: batches(mesh, repeat=1))
    with pytest.raises(ValueError, match="the data ended after 5 of 14 steps"):
        go(tmp_path, SETTINGS, stage)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"keep": 0}, {"log_every": 0}, {"sample_every": -1}])
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is at least"):
        TrainerSettings(**{"steps": 3, **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(2, 2, 1), (1, 1, 4)])  # each reads half of a batch; both read all of it
def test_two_processes_stop_together_and_one_goes_on(mesh, tmp_path):
    def both(folder, port, *asked):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        children = []
        for rank, more in enumerate(asked):
            join = {"coordinator_address": f"127.0.0.1:{port}", "num_processes": 2, "process_id": rank}
            settings = {"settings": dataclasses.asdict(SETTINGS), "mesh": mesh, "devices": 2, "join": join, **more}
            command = [sys.executable, str(HELPERS), str(folder), json.dumps(settings)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            children.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return [child.communicate(timeout=200)[0] for child in children]

    shown = both(tmp_path / "a", free_port(), {}, {"end_at": 6})  # only one of them hears the signal
    assert all("stopped" in one for one in shown), shown
    saved = sorted(int(path.name) for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert saved[-1] in (7, 8, 9)
    status, text = in_child(tmp_path / "a", devices=4, mesh=(2, 2, 1))
    assert status == 0, text
    assert f"going on from step {saved[-1]}" in text
    status, text = in_child(tmp_path / "b", devices=4, mesh=(4, 1, 1))
    assert status == 0, text
    assert [line["step"] for line in lines(tmp_path / "a")] == [line["step"] for line in lines(tmp_path / "b")]
    for path, array in arrays(tmp_path / "b", 14).items():
        np.testing.assert_allclose(arrays(tmp_path / "a", 14)[path], array, atol=1e-5, err_msg=path)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
