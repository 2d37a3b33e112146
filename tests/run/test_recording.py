import json

import numpy as np
import pytest
from helpers_video import decoded

from steady_jax.run.recording import Video, record

SETTINGS = {"prompt": "Rain on a pond", "seed": 3}


@pytest.fixture
def video(tmp_path):
    return Video(tmp_path / "rain.mp4", height=32, width=48, fps=16)


def blocks(count, then=None):
    for index in range(count):
        yield np.full((4, 32, 48, 3), 40 * index, np.uint8)
    if then is not None:
        raise then


def sidecar(video):
    return json.loads(video.files[2].read_text())


def test_a_stream_becomes_a_video_with_preview_and_settings(video, capsys):
    seconds = record(blocks(3), video, 12, SETTINGS)
    assert len(decoded(video.path)) == 12
    content = sidecar(video)
    assert (content["status"], content["frames"], content["prompt"], content["seed"]) == (
        "complete",
        12,
        "Rain on a pond",
        3,
    )
    assert content["timings"] == seconds
    assert seconds["seconds"] >= seconds["first_block_seconds"] >= 0
    assert all(file.stat().st_size > 0 for file in video.files)
    assert "12/12" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("device lost")])
def test_what_ends_a_stream_early_leaves_a_playable_video(video, error):
    with pytest.raises(type(error)):
        record(blocks(2, then=error), video, 100, SETTINGS)
    assert len(decoded(video.path)) == 8
    assert (sidecar(video)["status"], sidecar(video)["frames"]) == ("interrupted", 8)
    assert video.files[1].exists()


def test_a_check_ends_the_video_after_its_block(video):
    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(blocks(3), video, 12, SETTINGS, check=check)
    assert len(decoded(video.path)) == 4
    assert sidecar(video)["status"] == "interrupted"


def test_a_stream_that_ends_before_its_first_frame_leaves_nothing(video):
    with pytest.raises(KeyboardInterrupt):
        record(blocks(0, then=KeyboardInterrupt()), video, 100, SETTINGS)
    assert not any(file.exists() for file in video.files)


def test_while_frames_arrive_the_settings_say_running(video):
    seen = []

    def watched():
        for block in blocks(3):
            seen.append(sidecar(video)["status"] if video.files[2].exists() else None)
            yield block

    record(watched(), video, 12, SETTINGS)
    assert seen == [None, "running", "running"]


def test_speed_does_not_count_the_first_block(video):
    times = iter([0.0, *np.arange(10.0, 100.0, 0.25).tolist()])
    seconds = record(blocks(3), video, 12, SETTINGS, clock=lambda: next(times))
    assert seconds["first_block_seconds"] >= 10
    assert seconds["frames_per_second_after_first_block"] > 3


def test_an_existing_video_stays_unless_overwriting_is_asked_for(video):
    record(blocks(1), video, 4, SETTINGS)
    before = video.path.read_bytes()
    with pytest.raises(FileExistsError, match="exists"):
        record(blocks(3), video, 12, SETTINGS)
    assert video.path.read_bytes() == before
    record(blocks(3), video, 12, SETTINGS, overwrite=True)
    assert len(decoded(video.path)) == 12
