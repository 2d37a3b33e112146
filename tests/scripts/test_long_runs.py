"""Runs of sample.py that take minutes: killed and resumed, on several devices, in several processes."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from helpers_process import start

ROOT = Path(__file__).parent.parent.parent
SECONDS = 240
PROMPTS = "Waves on a beach\nRain on a pond [1s] | Fog [1s#] | Fire\nFire\nSmoke\nA river\nSnow\nA waterfall\nClouds\n"

pytestmark = pytest.mark.slow


def command(output, *words):
    return [sys.executable, "scripts/sample.py", "--config=configs/tiny.py", f"--config.output={output}", *words]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **more}


def sample(output, *words, **more):
    done = subprocess.run(
        command(output, *words), cwd=ROOT, env=environment(**more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def digests(folder):
    return {file.name: json.loads(file.read_text())["frames_sha256"] for file in folder.glob("*.json")}


def frames_so_far(settings):
    return json.loads(settings.read_text())["frames"] if settings.exists() else 0


def test_a_video_killed_at_three_random_moments_has_the_same_frames(tmp_path):
    words = ["--config.prompt=Waves", f"--config.seconds={SECONDS}", "--config.save_every=3"]
    sample(tmp_path / "whole", *words)
    settings = tmp_path / "killed" / "waves-seed0.json"
    moments = sorted(random.SystemRandom().sample(range(200, 16 * SECONDS - 200), 3))
    for moment in moments:
        with start(
            command(tmp_path / "killed", *words, "--resume"), cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL
        ) as process:
            while frames_so_far(settings) < moment:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        with av.open(str(tmp_path / "killed" / "waves-seed0.mp4")) as video:  # plays, whenever it was killed
            assert sum(packet.size > 0 for packet in video.demux(video=0)) >= frames_so_far(settings) - 24
    said = sample(tmp_path / "killed", *words, "--resume")
    sys.stdout.write(f"killed at frames {moments}\n{said}")
    assert ", from " in said
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    with av.open(str(tmp_path / "killed" / "waves-seed0.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert times == [index / 16 for index in range(16 * SECONDS)]
    assert sorted(file.suffix for file in (tmp_path / "killed").iterdir()) == [".json", ".mp4", ".webp"]


def test_devices_and_processes_do_not_change_a_video(tmp_path):
    """Eight virtual devices, and two processes of one device each, against one device: bit for bit."""
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    words = [
        f"--config.prompt_file={tmp_path / 'prompts.txt'}",
        "--config.seconds=3",
        "--config.memory.window=9",
        "--config.steps=(1000,500)",
    ]
    sample(tmp_path / "one", *words)
    sample(tmp_path / "eight", *words, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    both = [
        start(
            command(tmp_path / "two", *words, f"--config.part={index}/2"),
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]
    for process in both:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert said.count("wrote") == PROMPTS.count("\n") / 2
    expected = digests(tmp_path / "one")
    assert len(set(expected.values())) == PROMPTS.count("\n")
    assert digests(tmp_path / "eight") == digests(tmp_path / "two") == expected
