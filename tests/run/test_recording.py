import hashlib
import io
import itertools
import json
import os
import signal

import numpy as np
import pytest
from helpers_session import APART, BLOCKS, FRAMES, Waves, recordings_of, restored, videos_of
from helpers_video import assert_shows, decoded, moving

from steady_jax.run.interrupt import Interrupt
from steady_jax.run.progress import Progress
from steady_jax.run.recording import check_videos, record


@pytest.fixture
def log():
    return io.StringIO()


@pytest.fixture
def progress(log):
    with Progress(FRAMES, stream=log) as progress:
        yield progress


def sidecar(video):
    return json.loads(video.files[2].read_text())


def digest_of(frames):
    digest = ""
    for frame in frames:
        digest = hashlib.sha256(digest.encode() + frame.tobytes()).hexdigest()
    return digest


def failing_before(block, error):
    def before(number):
        if number == block:
            raise error

    return before


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_session_becomes_videos_with_previews_and_settings(tmp_path, log, progress):
    session = Waves(videos=3)  # of which the last one fills up the batch
    timings = record(session, recordings_of(tmp_path, 2), progress, states=tmp_path / "states")
    progress.close()
    for index, video in enumerate(videos_of(tmp_path, 2)):
        expected = moving(FRAMES, first=APART * index)
        frames, content = decoded(video.path), sidecar(video)
        assert len(frames) == FRAMES
        assert_shows(frames, expected)
        assert [frame.time for frame in frames] == [frame / 16 for frame in range(FRAMES)]
        assert [number for number, frame in enumerate(frames) if frame.key_frame] == [0, *np.cumsum(BLOCKS)[:-1]]
        assert (content["status"], content["frames"], content["prompt"]) == ("complete", FRAMES, f"waves {index}")
        assert content["frames_sha256"] == digest_of(expected)
        assert content["timings"] == timings[index]
        assert timings[index]["seconds"] >= timings[index]["first_block_seconds"] >= 0
        assert video.files[1].stat().st_size > 0
    assert len(list(tmp_path.iterdir())) == 6  # and no state
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("compiling")
    assert lines[-1].startswith(f"frames {2 * FRAMES}/{FRAMES}")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("device lost")], ids=["Ctrl-C", "error"])
def test_what_ends_a_block_early_leaves_a_playable_video(tmp_path, progress, error):
    (video,) = videos_of(tmp_path)
    with pytest.raises(type(error)):
        record(Waves(before=failing_before(2, error)), recordings_of(tmp_path), progress, states=tmp_path / "states")
    assert len(decoded(video.path)) == 21
    assert (sidecar(video)["status"], sidecar(video)["frames"]) == ("interrupted", 21)
    assert sidecar(video)["timings"]["seconds"] > 0
    assert video.files[1].exists()
    assert not (tmp_path / "states").exists()  # a session that failed is in no state to go on from


def test_ctrl_c_waits_for_the_end_of_a_block_and_a_state_is_saved(tmp_path, progress, listening):
    (video,), said = videos_of(tmp_path), []

    def before(block):
        if block == 2:
            press_ctrl_c()

    options = {"states": tmp_path / "states", "interrupt": listening, "say": said.append}
    with pytest.raises(KeyboardInterrupt):
        record(Waves(before=before), recordings_of(tmp_path), progress, **options)
    assert len(decoded(video.path)) == 33
    assert sidecar(video)["status"] == "interrupted"
    session, (after,) = restored(tmp_path / "states")
    assert session.block == 3
    assert (after.frames, after.digest) == (33, sidecar(video)["frames_sha256"])
    assert after.digest == digest_of(moving(33))
    np.testing.assert_array_equal(after.last_frame, moving(1, first=32)[0])
    saving, line = said
    assert "Ctrl-C again" in saving
    assert line == f"the state at 2.1 s is saved in {tmp_path / 'states'}; --resume goes on from there"


def test_ctrl_c_before_the_first_block_is_made_acts_at_once_and_leaves_nothing(tmp_path, progress, listening):
    def before(block):
        assert block == 0
        press_ctrl_c()
        raise AssertionError("it waited")

    with pytest.raises(KeyboardInterrupt):
        record(Waves(before=before), recordings_of(tmp_path), progress, states=tmp_path / "states", interrupt=listening)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_first_block_is_written_does_not_tear_it(tmp_path, progress, listening):
    class Clock:
        """Asked when a recording begins, and when it has written a block."""

        def __init__(self):
            self.asked = 0

        def __call__(self):
            self.asked += 1
            if self.asked == 2:
                press_ctrl_c()
            return float(self.asked)

    (video,), recordings = videos_of(tmp_path), recordings_of(tmp_path, clock=Clock())
    with pytest.raises(KeyboardInterrupt):
        record(Waves(), recordings, progress, states=tmp_path / "states", interrupt=listening)
    assert (len(decoded(video.path)), sidecar(video)["status"], sidecar(video)["frames"]) == (9, "interrupted", 9)
    assert restored(tmp_path / "states")[0].block == 1


def test_an_interrupt_in_the_last_block_comes_too_late(tmp_path, progress):
    interrupt, (video,) = Interrupt(), videos_of(tmp_path)

    def before(block):
        interrupt.asked = block == len(BLOCKS) - 1

    record(
        Waves(before=before),
        recordings_of(tmp_path),
        progress,
        states=tmp_path / "states",
        save_every=1e-9,
        interrupt=interrupt,
    )
    assert (len(decoded(video.path)), sidecar(video)["status"]) == (FRAMES, "complete")
    assert restored(tmp_path / "states")[0].block == len(BLOCKS) - 1  # none of a video that is complete


def test_states_are_saved_every_so_often(tmp_path, progress):
    saved, clock = [], itertools.count()

    class Watched(Waves):
        def save(self, folder, **described):
            saved.append((self.block, described["compact"]))
            return super().save(folder, **described)

    record(
        Watched(blocks=(3,) * 9),
        recordings_of(tmp_path),
        progress,
        states=tmp_path / "states",
        save_every=3,
        compact=True,
        clock=lambda: next(clock),  # one second more whenever it is asked: after each block, and after each state
    )
    assert saved == [(3, True), (6, True)]
    assert len(list((tmp_path / "states").iterdir())) == 1


@pytest.mark.parametrize("states", [None, "states"])
def test_none_are_saved_unasked(tmp_path, progress, states):
    states = states and tmp_path / states
    record(Waves(), recordings_of(tmp_path), progress, states=states, save_every=0.0 if states else 1e-9)
    assert len(list(tmp_path.iterdir())) == 3


def test_an_interrupt_without_a_place_for_states_ends_a_video_all_the_same(tmp_path, progress):
    interrupt, said, (video,) = Interrupt(), [], videos_of(tmp_path)
    interrupt.asked = True
    with pytest.raises(KeyboardInterrupt):
        record(Waves(), recordings_of(tmp_path), progress, interrupt=interrupt, say=said.append)
    assert said == []
    assert sidecar(video)["status"] == "interrupted"


def test_the_first_error_is_told_and_every_video_is_closed(tmp_path, progress):
    first, second = videos_of(tmp_path, 2)

    def before(block):
        if block == 2:
            first.files[2].unlink()
            first.files[2].mkdir()  # so that it cannot be written when it is closed
            raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        record(Waves(videos=2, before=before), recordings_of(tmp_path, 2), progress)
    assert len(decoded(first.path)) == len(decoded(second.path)) == 21
    assert sidecar(second)["status"] == "interrupted"


def test_a_state_relies_on_frames_that_the_disk_has(tmp_path, progress, monkeypatch):
    fsync, synced = os.fsync, []
    (video, _) = videos = videos_of(tmp_path, 2)

    def watched(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    class Watched(Waves):
        def __next__(self):
            synced.clear()
            return super().__next__()

        def save(self, *folder, **described):
            assert {video.path.stat().st_ino for video in videos} <= set(synced)
            assert len(decoded(video.path)) >= described["record"]["recordings"][0]["frames"] - 1
            return super().save(*folder, **described)

    monkeypatch.setattr(os, "fsync", watched)
    record(Watched(videos=2), recordings_of(tmp_path, 2), progress, states=tmp_path / "states", save_every=1e-9)
    assert restored(tmp_path / "states")[0].block == len(BLOCKS) - 1


def test_a_state_that_cannot_be_saved_is_no_reason_to_end_a_video(tmp_path, progress):
    said, (video,) = [], videos_of(tmp_path)
    (tmp_path / "states").write_text("not a folder")
    record(Waves(), recordings_of(tmp_path), progress, states=tmp_path / "states", save_every=1e-9, say=said.append)
    assert len(said) == len(BLOCKS) - 1
    assert all(line.startswith("note: the state ") and "could not be written" in line for line in said)
    assert sidecar(video)["status"] == "complete"


def test_a_last_state_that_cannot_be_saved_is_told_and_the_end_stays_what_it_was(tmp_path, progress):
    interrupt, said, (video,) = Interrupt(), [], videos_of(tmp_path)
    interrupt.asked = True
    (tmp_path / "states").write_text("not a folder")
    options = {"states": tmp_path / "states", "interrupt": interrupt, "say": said.append}
    with pytest.raises(KeyboardInterrupt):
        record(Waves(), recordings_of(tmp_path), progress, **options)
    assert [line[:6] for line in said] == ["saving", "note: "]
    assert sidecar(video)["status"] == "interrupted"


def test_while_frames_arrive_the_settings_say_running(tmp_path, progress):
    seen, (video,) = [], videos_of(tmp_path)

    def before(block):
        content = sidecar(video) if video.files[2].exists() else {}
        seen.append((content.get("status"), content.get("frames")))

    record(Waves(before=before), recordings_of(tmp_path), progress)
    assert seen == [(None, None), ("running", 9), ("running", 21), ("running", 33), ("running", 45)]


def test_no_moment_has_a_video_without_settings(tmp_path):
    class Torn(np.ndarray):
        def __iter__(self):
            yield np.asarray(self[0])
            assert video.path.exists()
            raise KeyboardInterrupt

    ((recording,), (video,)) = recordings_of(tmp_path), videos_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        recording.add(moving(3).view(Torn))
    assert (sidecar(video)["status"], sidecar(video)["frames"]) == ("running", 0)


def test_speed_does_not_count_the_first_block(tmp_path, progress):
    times = iter([0.0, 10.0, 12.0, 14.0, 16.0, 18.0])
    (timings,) = record(Waves(), recordings_of(tmp_path, clock=lambda: next(times)), progress)
    assert timings == {
        "first_block_seconds": 10.0,
        "seconds": 18.0,
        "frames_per_second_after_first_block": round((FRAMES - 9) / 8, 3),
    }


def test_an_existing_video_stays_unless_overwriting_is_asked_for(tmp_path, progress):
    (video,) = videos_of(tmp_path)
    record(Waves(blocks=(4,)), recordings_of(tmp_path), progress)
    before = [file.read_bytes() for file in video.files]
    with pytest.raises(FileExistsError, match="exists"):
        recordings_of(tmp_path)
    (recording,) = recordings_of(tmp_path, overwrite=True)
    recording.close(complete=False)
    assert [file.read_bytes() for file in video.files] == before
    record(Waves(), recordings_of(tmp_path, overwrite=True), progress)
    assert len(decoded(video.path)) == FRAMES
    assert sidecar(video)["frames"] == FRAMES


def test_a_state_is_of_its_videos_in_their_order(tmp_path):
    first, second, third = videos_of(tmp_path, 3)
    held = {"recordings": [{"name": "waves-0.mp4", "frames": 1}, {"name": "waves-1.mp4", "frames": 1}]}
    check_videos(held, [first, second])  # the one frame of each is in the state
    for others in ([first], [first, third], [second, first], [first, second, third]):
        with pytest.raises(ValueError, match=r"holds waves-0\.mp4, waves-1\.mp4, got waves-.*same prompts as before"):
            check_videos(held, others)
    held["recordings"][1]["frames"] = 20
    with pytest.raises(ValueError, match=r"waves-1\.mp4 goes on after its first 19 frames, but holds 0"):
        check_videos(held, [first, second])
