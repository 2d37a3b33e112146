"""Rewards of batches: from functions on the host, and over several devices and processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import check_rewards
import jax
import numpy as np
import pytest

from steady_jax import parallel
from steady_jax.train.rewards import HostReward, MotionReward, Reward, Rewards, host_reward

TESTS = Path(__file__).parents[1]
FRAMES = check_rewards.clips()
motion_of = jax.jit(MotionReward())


def means(frames):
    assert isinstance(frames, np.ndarray)
    assert frames.dtype == np.uint8
    return [float(clip.mean()) for clip in frames]


@pytest.fixture(scope="module")
def mesh():
    return parallel.make_mesh({}, jax.devices()[:1])


def put(frames, mesh):
    return jax.device_put(frames, parallel.batch_sharding(mesh))


@pytest.mark.parametrize(
    ("reward", "function"), [(MotionReward(), motion_of), (HostReward(means, "means"), means)], ids=["motion", "host"]
)
def test_rewards_of_one_device_are_those_of_the_function(reward, function, mesh):
    assert isinstance(reward, Reward)
    found = Rewards(reward, mesh)(put(FRAMES, mesh))
    assert found.sharding.is_equivalent_to(parallel.batch_sharding(mesh), 1)
    np.testing.assert_allclose(found, function(FRAMES), rtol=1e-5)


@pytest.mark.parametrize(
    "given", [[1.0, 2.0], 1.0, [[1.0]] * 3, [1.0, np.nan, 2.0], [1.0, np.inf, 2.0], None, ["a", "b", "c"]], ids=str
)
def test_what_is_not_a_finite_number_for_each_clip_is_refused(given):
    with pytest.raises(ValueError, match=r"lab:score got 3 clips and gave ") as told:
        HostReward(lambda frames: given, "lab:score")(FRAMES[:3])
    assert repr(given) in str(told.value)


def test_a_host_reward_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "lab_of_rewards.py").write_text("def brightness(frames):\n    return frames.mean((1, 2, 3, 4))\n")
    monkeypatch.syspath_prepend(tmp_path)
    reward = host_reward("lab_of_rewards:brightness")
    np.testing.assert_allclose(reward(FRAMES), FRAMES.mean((1, 2, 3, 4)), rtol=1e-6)
    with pytest.raises(ValueError, match="'lab_of_rewards' has no function 'darkness'"):
        host_reward("lab_of_rewards:darkness")
    (tmp_path / "lab_of_errors.py").write_text("import not_there_at_all\n")
    with pytest.raises(ValueError, match=r"MODULE:FUNCTION.*'lab_of_errors'.*No module named 'not_there_at_all'"):
        host_reward("lab_of_errors:brightness")


@pytest.mark.parametrize("name", ["", "motions", "numpy:", ":mean", "numpy:linalg.norm", "rewards/mine.py:score"])
def test_names_of_another_form_are_refused(name):
    with pytest.raises(ValueError, match=r'a reward is "MODULE:FUNCTION"') as told:
        host_reward(name)
    assert repr(name) in str(told.value)


# the items each process is asked about: its own, or where both have all of them, only the first process
ASKED = {"data": [[0, 1, 2, 3], [4, 5, 6, 7]], "context": [list(range(8)), None]}


@pytest.mark.parametrize("across", ["data", pytest.param("context", marks=pytest.mark.slow)])
def test_processes_share_the_items_and_have_the_same_numbers(across):
    reports = in_processes(across)
    clips = check_rewards.clips()
    motion, host = motion_of(clips), means(clips)
    assert len({round(float(number), 3) for number in motion}) > 5
    for rank, (report, asked) in enumerate(zip(reports, ASKED[across], strict=True)):
        assert report["calls"] == ([asked] if asked else [])
        items = sorted(map(int, report["motion"]))
        assert items == (ASKED["data"][rank] if across == "data" else list(range(8)))
        for item in items:
            assert report["motion"][str(item)] == pytest.approx(float(motion[item]), abs=1e-5)
            asked_of = rank if across == "data" else 0
            assert report["host"][str(item)] == pytest.approx(host[item] + 1000 * asked_of, abs=1e-3)
    assert reports[0]["error"] == "no reward here"
    assert "another process failed" in reports[1]["error"]
    assert all("cut over items by parallel.batch_sharding" in report["cut otherwise"] for report in reports)


def in_processes(across):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles sooner
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS))),
    }
    children = []
    for rank in range(check_rewards.PROCESSES):
        asked = json.dumps({"rank": rank, "port": port, "across": across})
        command = [sys.executable, "-m", "check_rewards", asked]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        children.append(subprocess.Popen(command, env=environment, text=True, **pipes))
    told = [child.communicate(timeout=200) for child in children]
    assert all(child.returncode == 0 for child in children), told
    return [json.loads(stdout.splitlines()[-1]) for stdout, _ in told]
