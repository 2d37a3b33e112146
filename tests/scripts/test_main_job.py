"""The main job, as a person does it: PyTorch files -> convert.py -> sample.py with a prompt file -> playable mp4s."""

import dataclasses
import json
import os
import shutil
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
from PIL import Image

from steady_jax.config import MODELS

ROOT = Path(__file__).parent.parent.parent
PROMPTS = ("Rain on a still pond, fixed camera.", "Smoke over embers at night, fixed camera.")
# a window that fills within a second, so that a short video evicts
SHORT = ("--config.steps=(1000,500)", "--config.memory.window=9", "--config.seconds=1.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(folder):
    """What several runs need is compiled by the first of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "programs"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
        yield


@pytest.fixture(scope="module")
def checkpoint(folder):
    """A checkpoint of the tiny model, converted from a base folder and a student that replaces its transformer."""
    model = MODELS["tiny"]
    vae = dataclasses.replace(model.vae, shortcuts=False)
    configs = {"dit": model.dit, "vae": vae, "text_encoder": model.text_encoder}
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
        "--config.model=",  # its own sizes: a VAE with shortcuts has no PyTorch layout
        f"--config.output={folder / 'videos'}",
        *SHORT,
    )


def script(name, *words, **more):
    return subprocess.run(
        [sys.executable, f"scripts/{name}.py", *words],
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
    )


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **more}


def contents(folder):
    """Every file of a folder and what is in it."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def settings_beside(video):
    return json.loads(video.with_suffix(".json").read_text())


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
    counts = [line.split()[1] for line in sampled.stderr.splitlines() if line.startswith("frames ")]
    assert counts[-1] == "48/48"  # of the whole run
    assert all(count.endswith("/48") for count in counts)


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


def test_finished_videos_are_left_alone(folder, checkpoint, sampled):
    del sampled
    before = contents(folder / "videos")
    done = script("sample", *arguments(folder, checkpoint), f"--config.prompt_file={folder / 'prompts.txt'}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is there already, made with the same settings") == 2
    assert "encoding" not in done.stderr
    assert contents(folder / "videos") == before


def test_what_is_in_the_way_is_named_and_stays(folder, checkpoint, sampled, tmp_path):
    del sampled
    for video in (folder / "videos").iterdir():
        (tmp_path / video.name).write_bytes(video.read_bytes())
    (tmp_path / "0002-fog-seed0.mp4").write_bytes(b"a film of somebody")
    (folder / "more.txt").write_text("\n".join([*PROMPTS, "Fog"]))
    before = contents(tmp_path)
    asked = [f"--config.prompt_file={folder / 'more.txt'}", f"--config.output={tmp_path}", "--config.seconds=2"]
    done = script("sample", *arguments(folder, checkpoint), *asked)
    assert done.returncode == 2
    assert done.stderr.count("was made with other settings (frames: 24 -> 32)") == 2
    assert "0002-fog-seed0.mp4: files of this name exist, and do not say what made them" in done.stderr
    assert "--overwrite replaces what is there" in done.stderr
    assert "encoding" not in done.stderr
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_two_devices_make_the_same_videos_and_overwrite_where_they_are_told_to(folder, checkpoint, sampled, tmp_path):
    del sampled
    videos = sorted((folder / "videos").glob("*.mp4"))
    (tmp_path / videos[0].name).write_bytes(b"a film of somebody")
    done = script(
        "sample",
        *arguments(folder, checkpoint),
        *[f"--config.prompt_file={folder / 'prompts.txt'}", f"--config.output={tmp_path}", "--overwrite"],
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    begun = [index for index, line in enumerate(lines) if line.endswith(PROMPTS)]
    ended = [index for index, line in enumerate(lines) if line.startswith("wrote ")]
    assert len(begun) == len(ended) == 2
    assert max(begun) < min(ended)  # side by side
    assert any(line.startswith("frames 48/48") for line in lines)
    for video in videos:
        assert len(frames_of(tmp_path / video.name)) == 24
        assert settings_beside(tmp_path / video.name)["frames_sha256"] == settings_beside(video)["frames_sha256"]


def press_ctrl_c(process):
    """Interrupts a child, checks that it ends as an interrupted one, and returns what it still said."""
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    return said


SCHEDULE = "Rain on a pond [3s#] | Fog"
SCENES = """
- {prompt: Rain on a pond, seconds: 3}
- {prompt: Fog, cut: true}
"""
AFTER = 12  # seconds that follow the picture


@pytest.fixture(scope="module")
def from_picture(folder, checkpoint):
    """Words for a video that starts from a picture of another size; the length leaves time to interrupt it."""
    y, x = np.mgrid[:90, :160]
    Image.fromarray(np.stack([y + x, 2 * y, 255 - x], -1).astype(np.uint8)).save(folder / "picture.png")
    picture = f"--config.image={folder / 'picture.png'}"
    return [*arguments(folder, checkpoint), picture, f"--config.seconds={AFTER}"]


@pytest.fixture(scope="module")
def stopped(folder, from_picture):
    """A video that Ctrl-C ended, the words that made it, and what was said."""
    video = folder / "stopped" / "rain-on-a-pond-3s-fog-seed0.mp4"
    words = [*from_picture, f"--config.prompt={SCHEDULE}", f"--config.output={video.parent}"]
    settings, seen, deadline = video.with_suffix(".json"), 0, time.monotonic() + 300
    command = [sys.executable, "scripts/sample.py", *words]
    with start(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE) as process:
        while seen < 12 and time.monotonic() < deadline and process.poll() is None:
            seen = json.loads(settings.read_text())["frames"] if settings.exists() else 0
            time.sleep(0.02)
        said = press_ctrl_c(process)
    return video, words, said


def test_ctrl_c_leaves_a_playable_video_and_a_state(stopped):
    video, _, said = stopped
    content = settings_beside(video)
    assert content["status"] == "interrupted"
    assert 12 <= len(frames_of(video)) == content["frames"] < 1 + 16 * AFTER
    assert video.with_suffix(".webp").exists()
    assert f"is saved in {video.with_suffix('.state')}; --resume goes on from there\n" in said
    assert said.endswith("stopped\n")
    assert "90x160 (rows x columns) is resized to 64x114 and cropped by 50 columns" in said


def test_an_unfinished_video_goes_on_only_as_it_began(stopped):
    video, words, _ = stopped
    before = contents(video.parent)
    for more, message in (
        ([], f"{video} is unfinished: --resume goes on with it"),
        (["--resume", "--config.memory.alpha=0.5"], "(pipeline.memory.alpha: 0.999 -> 0.5)"),
        (["--resume", "--config.compact_states=True"], "go on with --config.compact_states=False"),
    ):
        done = script("sample", *words, *more)
        assert done.returncode == 2
        assert message in done.stderr
        assert "encoding" not in done.stderr
        assert contents(video.parent) == before


def test_what_does_not_belong_to_a_state_is_told_in_one_line(stopped, tmp_path):
    video, words, _ = stopped
    copy = Path(shutil.copytree(video.parent, tmp_path / "copy")) / video.name
    words = [*words, f"--config.output={copy.parent}", "--resume"]
    copy.write_bytes(copy.read_bytes()[:2000])
    done = script("sample", *words)
    assert (done.returncode, done.stderr.splitlines()[-1][:7]) == (2, "error: ")
    assert "goes on after its first" in done.stderr
    assert "but holds 0" in done.stderr
    (record,) = copy.with_suffix(".state").glob("*/state.json")
    record.write_text(record.read_text().replace(copy.name, "others.mp4"))
    done = script("sample", *words)
    assert done.returncode == 2
    assert f"the state holds others.mp4, got {copy.name}" in done.stderr


def test_a_resumed_video_has_the_frames_of_one_that_nothing_happened_to(folder, stopped, from_picture):
    video, words, _ = stopped
    before = settings_beside(video)
    done = script("sample", *words, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"{video}  {SCHEDULE}, from {before['frames'] / 16:.1f} s on" in done.stderr
    assert f"frames {1 + 16 * AFTER}/{1 + 16 * AFTER}" in done.stderr
    assert sorted(file.suffix for file in video.parent.iterdir()) == [".json", ".mp4", ".webp"]
    content, frames = settings_beside(video), frames_of(video)
    assert content["status"] == "complete"
    assert len(frames) == content["frames"] == 1 + 16 * AFTER

    (folder / "scenes.yaml").write_text(SCENES)  # the same scenes
    undisturbed = [f"--config.scenes={folder / 'scenes.yaml'}", f"--config.output={folder / 'undisturbed'}"]
    done = script("sample", *from_picture, *undisturbed)
    assert done.returncode == 0, done.stderr
    (expected,) = (folder / "undisturbed").glob("*.mp4")
    assert content["frames_sha256"] == settings_beside(expected)["frames_sha256"]
    assert content["made_of"] == settings_beside(expected)["made_of"]
    assert np.abs(frames.astype(int) - frames_of(expected)).mean() < 3  # but for a keyframe where it went on


def test_a_mistake_in_a_schedule_is_shown_before_anything_is_loaded():
    words = ["--config=configs/tiny.py", "--config.checkpoint=nowhere", "--config.prompt=Rain [5s] | Fog [5s"]
    done = script("sample", *words)
    assert done.returncode == 2
    error, schedule, caret = done.stderr.splitlines()
    assert error.startswith("error: column 17: a '[' must be closed before its scene ends")
    assert (schedule, caret) == ("  Rain [5s] | Fog [5s", "                  ^")


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


@pytest.mark.slow
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
