import gc
import random
import signal
import subprocess
import sys
import time
import tracemalloc

import av
import numpy as np
import pytest
from helpers_video import HEIGHT, WIDTH, assert_shows, decoded, moving
from helpers_writer import REPOSITORY, child, writer

from steady_jax.run.fragments import cut_after_whole_frames, whole_frames


def test_a_video_shows_what_was_written_and_each_block_starts_with_a_keyframe(tmp_path):
    path = tmp_path / "new" / "folder" / "river.mp4"
    with writer(path, fps=8, comment='{"prompt": "长江 river", "seed": 3}') as video:
        video.write(moving(5))
        video.write(moving(7, first=5)[:, :, ::-1][:, :, ::-1])  # an array that is not contiguous
        video.write(moving(1, first=12))
        assert video.frames_written == 13
    frames = decoded(path)
    assert len(frames) == 13
    assert_shows(frames, moving(13))
    assert [index for index, frame in enumerate(frames) if frame.key_frame] == [0, 5, 12]
    assert [float(frame.time) for frame in frames] == [index / 8 for index in range(13)]
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == '{"prompt": "长江 river", "seed": 3}'
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == 8


def test_colours_are_bt709_in_the_pixels_and_in_the_tags(tmp_path):
    path = tmp_path / "red.mp4"
    with writer(path) as video:
        video.write(np.full((2, HEIGHT, WIDTH, 3), (255, 0, 0), np.uint8))
    frame = decoded(path)[0]
    luma = frame.to_ndarray()[:HEIGHT]
    assert np.abs(luma - (16 + 219 * 0.2126)).max() < 1.5  # BT.601 would have 16 + 219 * 0.299
    assert frame.format.name == "yuv420p"
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
    assert tags == (1, 1, 1, 1)  # bt709, bt709, bt709, limited


def test_a_growing_file_plays_all_but_the_last_frame(tmp_path):
    path = tmp_path / "growing.mp4"
    with writer(path) as video:
        for block in range(4):
            video.write(moving(3, first=3 * block))
            assert len(decoded(path)) >= video.frames_written - 1
    assert len(decoded(path)) == 12


SLOWLY = """
import sys, time
assert "jax" not in sys.modules
with VideoWriter(sys.argv[1], height=48, width=64) as video:
    for block in range(1000):
        video.write(moving(6, first=6 * block))
        print(block + 1, flush=True)
        time.sleep(0.003)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_all_blocks_it_completed(tmp_path, seed):
    path = tmp_path / "killed.mp4"
    draw = random.Random(seed)
    process = child(SLOWLY, path)
    read = draw.randint(1, 12)
    for _ in range(read):
        assert process.stdout.readline(), "the child ended by itself"
    time.sleep(draw.uniform(0, 0.02))
    process.kill()
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    completed = int(rest.split()[-1]) if rest.split() else read
    frames = decoded(path, torn=True)
    assert len(frames) >= 6 * completed - 1
    assert_shows(frames, moving(len(frames)))


def test_ctrl_c_closes_the_video(tmp_path):
    path = tmp_path / "stopped.mp4"
    process = child(SLOWLY, path)
    for _ in range(4):
        assert process.stdout.readline(), "the child ended by itself"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGINT
    frames = decoded(path)  # to the end, nothing torn
    assert len(frames) >= 6 * int(rest.split()[-1] if rest.split() else 4)
    assert_shows(frames, moving(len(frames)))


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))  # Python itself ignores SIGXFSZ
video = VideoWriter(sys.argv[1], height=48, width=64)
try:
    for block in range(100):
        video.write(moving(6, first=6 * block))
except OSError as error:
    print(video.frames_written, error)
try:
    video.write(moving(1))
except ValueError as error:
    print(error)
video.close()
"""


@pytest.mark.parametrize("limit", [10_000, 10_001, 20_000])
def test_a_full_disk_is_named_and_leaves_whole_frames(tmp_path, limit):
    path = tmp_path / "full.mp4"
    failure, closed = child(FULL_DISK, path, limit).communicate()[0].splitlines()
    kept, message = failure.split(" ", 1)
    assert "File too large" in message
    assert str(path) in message
    assert f"its first {kept} frames" in message
    assert "closed" in closed
    frames = decoded(path)
    assert len(frames) == int(kept) > 3
    assert path.stat().st_size > limit - 3000
    assert_shows(frames, moving(len(frames)))


def test_a_disk_that_is_full_from_the_start_leaves_no_empty_file(tmp_path):
    failure = child(FULL_DISK, tmp_path / "none.mp4", 900).communicate()[0]
    assert failure.startswith("0 [Errno 27]")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_at_the_end_is_named_by_close(tmp_path):
    path = tmp_path / "end.mp4"
    with writer(path) as video:
        video.write(moving(6))
    whole = path.stat().st_size - 200  # the index at the end and a part of the last frame do not fit
    code = FULL_DISK.replace("range(100)", "range(1)").replace("except OSError", "    video.close()\nexcept OSError")
    path.unlink()
    failure = child(code, path, whole).communicate()[0]
    assert failure.startswith("5 [Errno 5] The end of the video did not reach the disk")
    assert len(decoded(path)) == 5


def test_every_torn_end_can_be_cut_off(tmp_path):
    path, torn = tmp_path / "whole.mp4", tmp_path / "torn.mp4"
    with writer(path) as video:
        video.write(moving(3))
    data = path.read_bytes()
    assert whole_frames(path)[0] == 3
    for end in range(data.rindex(b"moof") - 4, len(data), 13):
        torn.write_bytes(data[:end])
        kept = cut_after_whole_frames(torn)
        assert kept >= 2
        assert len(decoded(torn)) == kept


def test_an_interrupt_closes_the_video(tmp_path):
    path = tmp_path / "interrupted.mp4"

    def rollout():
        with writer(path) as video:
            video.write(moving(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollout()
    assert len(decoded(path)) == 4


def test_closing_twice_and_writing_after_it(tmp_path):
    video = writer(tmp_path / "short.mp4")
    video.write(moving(1))
    video.close()
    video.close()
    assert len(decoded(tmp_path / "short.mp4")) == 1
    with pytest.raises(ValueError, match="closed"):
        video.write(moving(1))


def test_no_block_leaves_no_file(tmp_path):
    with writer(tmp_path / "empty.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_existing_video_is_refused_or_kept_until_the_first_block(tmp_path):
    path = tmp_path / "old.mp4"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"old\.mp4 exists; set overwrite=True .* or choose another output"):
        writer(path)
    with writer(path, overwrite=True) as video:
        with pytest.raises(TypeError):
            video.write(moving(1).astype(np.float32))
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"old"
    with writer(path, overwrite=True) as video:
        video.write(moving(2))
    assert len(decoded(path)) == 2


def test_the_slower_of_two_writers_of_one_file_is_refused(tmp_path):
    with writer(tmp_path / "one.mp4") as fast, writer(tmp_path / "one.mp4") as slow:
        fast.write(moving(2))
        with pytest.raises(FileExistsError):
            slow.write(moving(2))
    assert len(decoded(tmp_path / "one.mp4")) == 2


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (moving(2).astype(np.float32), TypeError, "uint8 .* got float32"),
        (moving(2)[..., :1], ValueError, r"\[f h w 3\] .* got \[2, 48, 64, 1\]"),
        (moving(2)[0], ValueError, r"got \[48, 64, 3\]"),
        (moving(2)[:0], ValueError, "at least one frame"),
        (moving(2)[:, :32], ValueError, r"48 x 64 \(rows x columns\), got 32 x 64"),
    ],
)
def test_a_wrong_block_is_refused_whole_and_the_video_goes_on(tmp_path, wrong, error, words):
    path = tmp_path / "on.mp4"
    with writer(path) as video:
        video.write(moving(2))
        with pytest.raises(error, match=words):
            video.write(wrong)
        video.write(moving(2, first=2))
    assert_shows(decoded(path), moving(4))
    assert len(decoded(path)) == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"height": 47}, "even .* got 47 x 64"),
        ({"width": 65}, "even .* got 48 x 65"),
        ({"width": 0}, "even .* got 48 x 0"),
        ({"fps": 0}, "fps is at least 1"),
        ({"crf": 52}, "crf is 1 .* got 52"),
        ({"crf": 0}, "crf is 1"),
        ({"preset": "quick"}, "veryfast.* got 'quick'"),
    ],
)
def test_settings_are_checked_at_once(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        writer(tmp_path / "v.mp4", **settings)


def test_places_where_no_video_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "v.mp4", tmp_path / "file" / "deeper" / "v.mp4"):
        with pytest.raises(NotADirectoryError, match="file is a file, not a folder"):
            writer(path)
    with pytest.raises(ValueError, match=r"ends in \.mp4"):
        writer(tmp_path / "v.avi")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match="choose another output"):
        writer(tmp_path / "folder.mp4", overwrite=True)


def test_memory_does_not_grow_with_the_video(tmp_path):
    block = moving(6)
    with writer(tmp_path / "long.mp4") as video:
        video.write(block)
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(60):
            video.write(block.copy())
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < block.nbytes


def test_what_is_written_around_a_rollout_needs_no_jax():
    code = (
        "import sys\nfrom steady_jax.run import preview, progress, sheet, sidecar, writer\nprint('jax' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "False\n"
