"""The main job, as a person does it: PyTorch files -> convert.py -> sample.py with a prompt file -> playable mp4s."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from helpers_process import start
from helpers_torch import write_student, write_wan_folder

from steady_jax.config import MODELS

ROOT = Path(__file__).parent.parent.parent
PROMPTS = ("Rain on a still pond, fixed camera.", "Smoke over embers at night, fixed camera.")
# a window that fills within a second, so that a short video evicts
SHORT = ("--config.steps=(1000,500)", "--config.memory.window=9", "--config.seconds=1.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def checkpoint(folder):
    """A checkpoint of the tiny model, converted from a base folder and a student that replaces its transformer."""
    model = MODELS["tiny"]
    configs = {"dit": model.dit, "vae": model.vae, "text_encoder": model.text_encoder}
    write_wan_folder(folder / "wan", configs=configs)
    write_student(folder / "student.pt", config=model.dit)
    destination = folder / "converted"
    done = script(
        "convert", f"--source={folder / 'wan'}", f"--source={folder / 'student.pt'}", f"--destination={destination}"
    )
    assert done.returncode == 0, done.stderr
    return destination


@pytest.fixture(scope="module")
def sampled(folder, checkpoint):
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n\n")
    done = script("sample", *arguments(folder, checkpoint), f"--config.prompt_file={folder / 'prompts.txt'}")
    assert done.returncode == 0, done.stderr
    return done


def arguments(folder, checkpoint):
    return (
        "--config=configs/tiny.py",
        f"--config.checkpoint={checkpoint}",
        f"--config.output={folder / 'videos'}",
        *SHORT,
    )


def script(name, *words):
    return subprocess.run(
        [sys.executable, f"scripts/{name}.py", *words], cwd=ROOT, env=environment(), capture_output=True, text=True
    )


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def frames_of(path):
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def test_each_prompt_becomes_a_playable_video_of_the_asked_length_and_size(folder, sampled):
    videos = sorted((folder / "videos").glob("*.mp4"))
    assert [video.name for video in videos] == [
        "0000-rain-on-a-still-pond-fixed-camera-seed0.mp4",
        "0001-smoke-over-embers-at-night-fixed-camera-seed0.mp4",
    ]
    pictures = [frames_of(video) for video in videos]
    for frames in pictures:
        assert frames.shape == (24, 64, 64, 3)
        assert frames.std() > 1
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 0.1
    assert "24/24" in sampled.stderr


def test_each_video_has_a_preview_and_the_settings_that_made_it(folder, sampled, checkpoint):
    del sampled
    for index, prompt in enumerate(PROMPTS):
        (settings,) = (folder / "videos").glob(f"{index:04d}-*.json")
        content = json.loads(settings.read_text())
        assert (content["status"], content["frames"], content["seed"], content["prompt"]) == ("complete", 24, 0, prompt)
        assert content["config"]["checkpoint"] == str(checkpoint)
        assert content["config"]["memory"]["window"] == 9
        assert content["versions"]["jax"]
        assert content["timings"]["seconds"] > 0
        assert settings.with_suffix(".webp").stat().st_size > 0


def test_nothing_is_overwritten_unasked(folder, checkpoint, sampled):
    del sampled
    before = {file: file.read_bytes() for file in (folder / "videos").iterdir()}
    done = script("sample", *arguments(folder, checkpoint), f"--config.prompt_file={folder / 'prompts.txt'}")
    assert done.returncode == 2
    assert "set --config.overwrite=True" in done.stderr
    assert "encoding" not in done.stderr
    assert {file: file.read_bytes() for file in (folder / "videos").iterdir()} == before


def press_ctrl_c(process):
    """Interrupts a child, checks that it ends as an interrupted one, and returns what it still said."""
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    return said


def test_ctrl_c_leaves_a_playable_video(folder):
    output = folder / "stopped"
    words = ["--config=configs/tiny.py", "--config.prompt=Waves", "--config.seconds=600", f"--config.output={output}"]
    settings, seen, deadline = output / "waves-seed0.json", 0, time.monotonic() + 300
    command = [sys.executable, "scripts/sample.py", *words]
    with start(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE) as process:
        while seen < 30 and time.monotonic() < deadline and process.poll() is None:
            seen = json.loads(settings.read_text())["frames"] if settings.exists() else 0
            time.sleep(0.05)
        press_ctrl_c(process)
    content = json.loads(settings.read_text())
    assert content["status"] == "interrupted"
    assert len(frames_of(output / "waves-seed0.mp4")) == content["frames"] >= seen
    assert (output / "waves-seed0.webp").exists()


def test_ctrl_c_while_compiling_ends_quietly(folder):
    output = folder / "early"
    words = ["--config=configs/tiny.py", "--config.prompt=Waves", f"--config.output={output}"]
    command = [sys.executable, "scripts/sample.py", *words]
    with start(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE) as process:
        while "compiling" not in (line := process.stderr.readline()):
            assert line, "ended before it compiled"
        time.sleep(1)
        said = press_ctrl_c(process)
    assert said.endswith("stopped\n")
    assert not list(output.glob("*.mp4"))


def test_a_checkpoint_of_other_sizes_is_refused(checkpoint):
    done = script(
        "sample", "--config=configs/steady_1_3b.py", f"--config.checkpoint={checkpoint}", "--config.prompt=Waves"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "width" in done.stderr


def test_the_benchmark_prints_one_json():
    done = script("benchmark", "--config=configs/tiny.py", "--config.steps=(1000,500)", "--config.memory.window=9")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["calls_per_block"] == 3
    for name in ("denoise_fps", "vae_fps", "end_to_end_fps", "first_block_latency_seconds"):
        assert report[name] > 0
    assert set(report["compile_seconds"]) == {
        *("encode_prompt", "empty_memory", "block", "decode_first", "decode_next")
    }
    assert report["peak_memory_bytes"]["process"] > 2**20
    assert report["program_memory_bytes"]["make_room"]["temporaries"] <= 2 * report["memory_layer_bytes"]
