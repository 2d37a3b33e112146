"""Videos that are interrupted or killed and go on: in the end no frame tells that anything happened."""

import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers_process import start
from helpers_session import APART, BLOCKS, FRAMES, Waves, recordings_of, restored, videos_of
from helpers_video import assert_shows, decoded, moving
from PIL import Image

from steady_jax import saved_state
from steady_jax.run.fragments import whole_frames
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.progress import Progress
from steady_jax.run.recording import record

REPOSITORY = Path(__file__).parents[2]


def film(folder, session, after=None, **options):
    """Records a session with states in folder/states, as sample.py does."""
    recordings = recordings_of(folder, session.videos, after)
    with Progress(session.videos * sum(session.blocks), stream=io.StringIO()) as progress:
        timings = record(session, recordings, progress, states=folder / "states", **options)
    saved_state.remove(folder / "states")
    return timings


def go_on(folder, **options):
    return film(folder, *restored(folder / "states"), **options)


def interrupted(film, block, *arguments):
    """Films, and interrupts it while that block is made."""
    interrupt = Interrupt()

    def before(number):
        interrupt.asked = number == block

    with pytest.raises(KeyboardInterrupt):
        film(*arguments, before, interrupt)


def interrupted_start(folder, block, blocks=BLOCKS, videos=1):
    def begin(before, interrupt):
        film(folder, Waves(blocks, videos, before=before), interrupt=interrupt)

    interrupted(begin, block)


def interrupted_again(folder, block):
    def continued(before, interrupt):
        film(folder, *restored(folder / "states", before), interrupt=interrupt)

    interrupted(continued, block)


def sidecar(video):
    return json.loads(video.files[2].read_text())


def previewed(video):
    """Pictures of the preview."""
    with Image.open(video.files[1]) as picture:
        return picture.n_frames


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder of two videos that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    film(folder, Waves(videos=2))
    return folder


def assert_as_undisturbed(folder, undisturbed, videos=1):
    for index, (video, whole) in enumerate(zip(videos_of(folder, videos), videos_of(undisturbed, videos), strict=True)):
        frames = decoded(video.path)
        assert len(frames) == FRAMES
        assert [frame.time for frame in frames] == [number / 16 for number in range(FRAMES)]
        assert_shows(frames, moving(FRAMES, first=APART * index))
        content, expected = sidecar(video), sidecar(whole)
        assert content["frames_sha256"] == expected["frames_sha256"]
        assert (content["status"], content["frames"]) == ("complete", FRAMES)
        assert previewed(video) == previewed(whole)
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        file.name for video in videos_of(folder, videos) for file in video.files
    )


@pytest.mark.parametrize("block", range(len(BLOCKS) - 1))
def test_an_interrupted_video_plays_and_goes_on(tmp_path, undisturbed, block):
    (video,), count = videos_of(tmp_path), sum(BLOCKS[: block + 1])
    interrupted_start(tmp_path, block)
    frames = decoded(video.path)
    assert len(frames) == count
    assert_shows(frames, moving(count))
    assert (sidecar(video)["status"], sidecar(video)["frames"]) == ("interrupted", count)
    assert previewed(video) == count
    session, (after,) = restored(tmp_path / "states")
    assert (session.block, after.frames, after.digest) == (block + 1, count, sidecar(video)["frames_sha256"])
    go_on(tmp_path)
    assert_as_undisturbed(tmp_path, undisturbed)


def test_videos_in_step_go_on_in_step_as_often_as_it_takes(tmp_path, undisturbed):
    interrupted_start(tmp_path, 0, videos=2)
    for block in range(1, len(BLOCKS) - 1):
        interrupted_again(tmp_path, block)
        for video in videos_of(tmp_path, 2):
            assert len(decoded(video.path)) == sidecar(video)["frames"] == sum(BLOCKS[: block + 1])
    go_on(tmp_path)
    assert_as_undisturbed(tmp_path, undisturbed, videos=2)


def test_a_video_of_one_frame_so_far_goes_on(tmp_path):
    interrupted_start(tmp_path, 0, blocks=(1, 4))
    go_on(tmp_path)
    (video,) = videos_of(tmp_path)
    assert_shows(decoded(video.path), moving(5))
    assert len(decoded(video.path)) == sidecar(video)["frames"] == 5


def test_the_time_of_all_runs_is_counted(tmp_path):
    seconds = itertools.count(step=10)

    def clock():
        return float(next(seconds))

    def run(session, after=None, interrupt=None):
        recordings = recordings_of(tmp_path, after=after, clock=clock)
        with Progress(FRAMES, stream=io.StringIO()) as progress:
            return record(session, recordings, progress, states=tmp_path / "states", interrupt=interrupt)

    interrupt = Interrupt()
    interrupt.asked = True
    with pytest.raises(KeyboardInterrupt):
        run(Waves(), interrupt=interrupt)
    (video,), (_, (after,)) = videos_of(tmp_path), restored(tmp_path / "states")
    assert sidecar(video)["timings"]["seconds"] == after.seconds == 10
    (timings,) = run(*restored(tmp_path / "states"))
    assert (timings["first_block_seconds"], timings["seconds"]) == (10, 10 + 40)


def test_a_restart_that_ends_before_its_first_block_changes_nothing(tmp_path, undisturbed):
    interrupted_start(tmp_path, 1)
    before = contents(tmp_path)

    def stopped(block):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        film(tmp_path, *restored(tmp_path / "states", stopped))
    assert contents(tmp_path) == before
    go_on(tmp_path)
    assert_as_undisturbed(tmp_path, undisturbed)


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_file_that_lost_frames_its_state_relies_on_is_refused(tmp_path):
    interrupted_start(tmp_path, 1)
    (video,) = videos_of(tmp_path)
    data = video.path.read_bytes()
    video.path.write_bytes(data[: whole_frames(video.path, 19)[1]])
    with pytest.raises(ValueError, match=r"holds 19 whole frames .* fewer than the 20"):
        go_on(tmp_path)
    video.path.unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        go_on(tmp_path)
    assert restored(tmp_path / "states")[0].block == 2


CHILD = """
import io, itertools, os, resource, signal, sys
from pathlib import Path
from helpers_session import Waves, recordings_of, restored
from steady_jax.run.progress import Progress
from steady_jax.run.recording import record

def film(session, after=None, **options):
    recordings = recordings_of(folder, session.videos, after)
    with Progress(session.videos * sum(session.blocks), stream=io.StringIO()) as progress:
        record(session, recordings, progress, states=folder / "states", **options)

folder = Path(sys.argv[1])
"""


def child(code, folder, *arguments):
    command = [sys.executable, "-c", CHILD + code, str(folder), *map(str, arguments)]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    return start(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


KILLED_BEFORE_A_BLOCK = """
last, ticks = int(sys.argv[2]), itertools.count()

def before(block):
    if block == last:
        os.kill(os.getpid(), signal.SIGKILL)

session = restored(folder / "states", before) if (folder / "states").exists() else [Waves(before=before)]
film(*session, save_every=2, clock=lambda: next(ticks))  # states after blocks 1 and 3, counted from 0
"""


def killed_before(block, folder):
    with child(KILLED_BEFORE_A_BLOCK, folder, block) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def test_a_killed_video_goes_on_from_its_state_whatever_the_file_holds(tmp_path, undisturbed):
    (video,) = videos_of(tmp_path)
    killed_before(3, tmp_path)
    session, (after,) = restored(tmp_path / "states")
    assert (session.block, after.frames) == (2, 21)
    assert len(decoded(video.path, torn=True)) >= 32
    assert (sidecar(video)["status"], sidecar(video)["frames"]) == ("running", 33)
    assert not video.files[1].exists()
    killed_before(3, tmp_path)  # and so does one that was killed before it got further
    assert restored(tmp_path / "states")[0].block == 2
    assert len(decoded(video.path, torn=True)) >= 32
    go_on(tmp_path)
    assert_as_undisturbed(tmp_path, undisturbed)


KILLED_AT_RANDOM = """
blocks = [6] * 500
film(Waves(blocks, before=lambda block: print(block, flush=True)), save_every=1e-9)
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_video_killed_at_any_moment_goes_on(tmp_path, seed):
    draw, (video,) = random.Random(seed), videos_of(tmp_path)
    with child(KILLED_AT_RANDOM, tmp_path) as process:
        for _ in range(draw.randint(2, 6)):
            assert process.stdout.readline(), "the child ended by itself"
        time.sleep(draw.uniform(0, 0.1))  # while frames are written, or a state is
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    session, (after,) = restored(tmp_path / "states")
    assert len(decoded(video.path, torn=True)) >= after.frames - 1
    session.blocks = (*session.blocks[: session.block], 6, 5)  # it need not become that long
    total = sum(session.blocks)
    film(tmp_path, session, [after])
    frames = decoded(video.path)
    assert len(frames) == sidecar(video)["frames"] == total
    assert [frame.time for frame in frames] == [number / 16 for number in range(total)]
    assert_shows(frames, moving(total))
    assert previewed(video) > 0


FULL_DISK = """
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python itself ignores SIGXFSZ
try:
    film(Waves([12] * 12, videos=2), save_every=1e-9)
except OSError as error:
    print(error)
"""


def test_a_full_disk_ends_a_video_that_goes_on_when_there_is_room(tmp_path):
    with child(FULL_DISK, tmp_path, 40_000) as process:  # there is room for states, and half of the videos
        said, _ = process.communicate(timeout=60)
    assert "File too large" in said
    assert "cannot grow any more" in said
    session, (after, _) = restored(tmp_path / "states")
    assert 0 < session.block < 12
    for video in videos_of(tmp_path, 2):
        assert len(decoded(video.path)) >= after.frames - 1
        assert sidecar(video)["status"] == "interrupted"
    go_on(tmp_path)
    for index, video in enumerate(videos_of(tmp_path, 2)):
        frames = decoded(video.path)
        assert len(frames) == sidecar(video)["frames"] == 144
        assert_shows(frames, moving(144, first=APART * index))
