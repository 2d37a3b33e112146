import contextlib
import os
import random
import signal
import time

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from helpers_video import HEIGHT, WIDTH, assert_shows, decoded, moving
from helpers_writer import child, writer

from steady_jax.run.fragments import whole_frames


def write(path, *blocks, **settings):
    """Writes blocks of so many frames and returns the bytes of the file."""
    with writer(path, **settings) as video:
        for count in blocks:
            video.write(moving(count, first=video.frames_written))
    return path.read_bytes()


def pictures(path):
    """All frames as they are decoded, before any conversion."""
    return np.stack([frame.to_ndarray() for frame in decoded(path)])


def assert_goes_on(path, old, keep, *blocks):
    """Resumes a file with the content `old` after `keep` frames: those stay bit for bit, the blocks follow them."""
    path.write_bytes(old)
    end = whole_frames(path, keep)[1]
    path.write_bytes(old[:end])  # FFmpeg may refuse a torn end
    kept = pictures(path)
    path.write_bytes(old)
    write(path, *blocks, keep_frames=keep)
    total = keep + sum(blocks)
    frames = decoded(path)
    assert len(frames) == total
    assert_shows(frames, moving(total))
    assert len(kept) == keep
    assert np.array_equal(pictures(path)[:keep], kept)
    assert path.read_bytes()[:end] == old[:end]  # packets, times and headers
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert video.average_rate == 16
        assert video.duration * video.time_base * 16 == total
        packets = [packet for packet in container.demux(video) if packet.size]
    assert [packet.pts * packet.time_base * 16 for packet in packets] == list(range(total))
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]
    assert {packet.duration * packet.time_base * 16 for packet in packets} == {1}
    starts = [keep + sum(blocks[:index]) for index in range(len(blocks))]
    assert [index for index in range(keep, total) if packets[index].is_keyframe] == starts
    assert list(path.parent.iterdir()) == [path]


SLOWLY = """
import sys, time
keep = int(sys.argv[2])
with VideoWriter(sys.argv[1], height=48, width=64, keep_frames=keep) as video:
    for block in range(1000):
        video.write(moving(6, first=keep + 6 * block))
        print(block + 1, flush=True)
        time.sleep(0.003)
"""


def killed(path, draw, keep=0):
    """Kills a child that writes blocks of 6 frames after the kept ones, and returns how many it completed."""
    process = child(SLOWLY, path, keep)
    read = draw.randint(2, 8)
    for _ in range(read):
        assert process.stdout.readline(), "the child ended by itself"
    time.sleep(draw.uniform(0, 0.02))
    process.kill()
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    return int(rest.split()[-1]) if rest.split() else read


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_video_goes_on_after_any_of_its_frames(tmp_path, seed):
    path, draw = tmp_path / "river.mp4", random.Random(seed)
    killed(path, draw)
    old, whole = path.read_bytes(), whole_frames(path)[0]
    for keep in {1, 5, 6, 7, whole - 1, whole}:  # within a block, at its end and at its start
        assert_goes_on(path, old, keep, 6, 4)


def test_a_resumed_video_can_be_killed_and_resumed_again(tmp_path):
    path, draw = tmp_path / "river.mp4", random.Random(7)
    completed = killed(path, draw)
    keep = 6 * completed - 1
    completed = killed(path, draw, keep)
    frames = decoded(path, torn=True)
    assert len(frames) >= keep + 6 * completed - 1
    assert_shows(frames, moving(len(frames)))
    assert_goes_on(path, path.read_bytes(), keep + 8, 3, 1, 2)


def test_a_video_that_ended_goes_on_too(tmp_path):
    for number, fps in enumerate((1, 16, 24, 25, 60)):
        path = tmp_path / str(number) / "short.mp4"
        write(path, 1, fps=fps)
        write(path, 1, 2, fps=fps, keep_frames=1)
        assert [frame.time * fps for frame in decoded(path)] == pytest.approx([0, 1, 2, 3])
        assert_shows(decoded(path), moving(4))


def test_every_torn_end_can_be_followed(tmp_path):
    path = tmp_path / "torn.mp4"
    data = write(path, 5)
    for end in range(data.rindex(b"moof") - 4, data.rindex(b"mfra"), 41):
        assert_goes_on(path, data[:end], 4, 2)


def test_a_cut_in_the_picture_is_no_keyframe_afterwards(tmp_path):
    path = tmp_path / "cut.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8)
    with writer(path) as video:
        video.write(np.concatenate([moving(4), noise.repeat(4, axis=0)]))
    old, end = path.read_bytes(), whole_frames(path, 7)[1]
    assert decoded(path)[4].pict_type == PictureType.I  # refers to no frame before it, yet only a block starts anew
    write(path, 3, keep_frames=7)
    assert path.read_bytes()[:end] == old[:end]


def test_a_resumed_video_plays_while_it_grows(tmp_path):
    path = tmp_path / "growing.mp4"
    write(path, 6)
    with writer(path, keep_frames=4) as video:
        assert video.frames_written == 4
        for _ in range(4):
            video.write(moving(3, first=video.frames_written))
            assert len(decoded(path)) >= video.frames_written - 1
    assert video.frames_written == len(decoded(path)) == 16


def test_a_first_block_of_one_frame_replaces_none_that_is_kept(tmp_path):
    path = tmp_path / "one.mp4"
    write(path, 6)
    with writer(path, keep_frames=5) as video:
        video.write(moving(1, first=5))
        assert len(decoded(path)) == 5
    assert_shows(decoded(path), moving(6))


def test_the_comment_is_the_new_one(tmp_path):
    path = tmp_path / "comment.mp4"
    write(path, 3, comment="old")
    write(path, 3, comment="new", keep_frames=3)
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "new"


def test_nothing_changes_before_the_first_block(tmp_path):
    path = tmp_path / "kept.mp4"
    old = write(path, 6)
    (tmp_path / "kept.mp4.partial").write_bytes(b"of an earlier resume that was killed" * 1000)
    with writer(path, keep_frames=3) as video, pytest.raises(TypeError):
        video.write(moving(1).astype(np.float32))
    assert path.read_bytes() == old
    assert_goes_on(path, old, 3, 2)  # and the leftover does no harm


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep_frames": 7}, r"river\.mp4 holds 6 whole frames .*, fewer than the 7 to be taken; .* begin a new video"),
        ({"keep_frames": -1}, r"keep_frames is 0 .* got -1"),
        ({"overwrite": True}, r"keep_frames=6 goes on in it; set one of them"),
        ({"height": 32}, r"holds 48 x 64 .* at 16 frames .* got 32 x 64 .* at 16 frames .* resume with its settings"),
        ({"width": 128}, r"holds 48 x 64 .* got 48 x 128"),
        ({"fps": 24}, r"at 16 frames per second, got 48 x 64 .* at 24 frames"),
        ({"crf": 19}, r"other H\.264 parameter sets .* resume with its crf, its preset"),
        ({"preset": "medium"}, r"other H\.264 parameter sets"),
    ],
)
def test_a_video_goes_on_only_with_the_settings_it_began_with(tmp_path, settings, words):
    path = tmp_path / "river.mp4"
    old = write(path, 6)
    with pytest.raises(ValueError, match=words):
        writer(path, **({"keep_frames": 6} | settings))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_of_another_encoder_is_refused(tmp_path):
    path = tmp_path / "river.mp4"
    fragments = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}
    with av.open(str(path), "w", container_options=fragments) as container:
        stream = container.add_stream("libx264", rate=16, options={"profile": "baseline", "crf": "18"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for pixels in moving(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"other H\.264 parameter sets"):
        writer(path, keep_frames=3)


def test_a_video_that_is_missing_or_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.mp4 does not exist, .* begin a new video"):
        writer(tmp_path / "none.mp4", keep_frames=1)
    (tmp_path / "text.mp4").write_text("not a video, but longer than the header of a box")
    with pytest.raises(ValueError, match="holds 0 whole frames"):
        writer(tmp_path / "text.mp4", keep_frames=1)


def test_a_file_that_goes_away_is_named_and_the_video_can_wait_for_it(tmp_path):
    path = tmp_path / "away.mp4"
    old = write(path, 6)
    with writer(path, keep_frames=6) as video:
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"away\.mp4 does not exist"):
            video.write(moving(2, first=6))
        assert list(tmp_path.iterdir()) == []
        path.write_bytes(old)
        video.write(moving(2, first=6))
    assert_shows(decoded(path), moving(8))


def open_files():
    """How many files this process holds open."""
    count = 0
    for descriptor in range(256):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            count += 1
    return count


def assert_unchanged(video, old):
    """The video is closed, and its file as it was."""
    assert video.path.read_bytes() == old
    assert list(video.path.parent.iterdir()) == [video.path]
    assert video.frames_written == video.sync() == 5
    with pytest.raises(ValueError, match="closed"):
        video.write(moving(1))
    video.close()
    assert video.path.read_bytes() == old


def test_a_damaged_video_stays_as_it_is(tmp_path):
    path = tmp_path / "damaged.mp4"
    data = write(path, 6)
    old = data[: (place := data.rindex(b"trun", 0, data.rindex(b"moof")))] + b"xxxx" + data[place + 4 :]
    path.write_bytes(old)
    before = open_files()
    with writer(path, keep_frames=5) as video:
        with pytest.raises(ValueError, match="is damaged: 4 of its first 5 frames can be read; go on after fewer"):
            video.write(moving(3, first=5))
        assert open_files() <= before  # one that is removed but open still fills the disk
        assert_unchanged(video, old)


def test_an_interrupt_in_the_first_block_leaves_the_old_video(tmp_path):
    class Interrupting(np.ndarray):
        def __iter__(self):
            yield np.asarray(self[0])
            raise KeyboardInterrupt

    path = tmp_path / "interrupted.mp4"
    old = write(path, 6)
    with writer(path, keep_frames=5) as video:
        with pytest.raises(KeyboardInterrupt):
            video.write(moving(3, first=5).view(Interrupting))
        assert_unchanged(video, old)


FULL_DISK = """
import resource, sys
keep, limit = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python itself ignores SIGXFSZ
video = VideoWriter(sys.argv[1], height=48, width=64, keep_frames=keep)
try:
    for block in range(100):
        video.write(moving(6, first=keep + 6 * block))
except OSError as error:
    print(video.frames_written, error)
try:
    video.write(moving(1))
except ValueError as error:
    print(error)
video.close()
print(video.sync())
"""


@pytest.mark.parametrize("beyond", [-3000, -100, 50, 1000])
def test_a_disk_that_is_full_before_the_first_block_is_there_leaves_the_old_video(tmp_path, beyond):
    path = tmp_path / "full.mp4"
    old = write(path, 6, 6)
    limit = whole_frames(path, 9)[1] + beyond  # in the middle of the kept frames, or of the block after them
    failure, closed, held = child(FULL_DISK, path, 9, limit).communicate()[0].splitlines()
    assert failure.startswith("9 [Errno 27] File too large")
    assert f"{path} cannot grow any more; its first 9 frames (0.6 s) are kept and play" in failure
    assert "closed" in closed
    assert held == "9"
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_later_leaves_whole_frames(tmp_path):
    path = tmp_path / "full.mp4"
    write(path, 6, 6)
    failure, _, held = child(FULL_DISK, path, 9, 20_000).communicate()[0].splitlines()
    kept = int(failure.split(" ", 1)[0])
    assert f"its first {kept} frames" in failure
    frames = decoded(path)
    assert len(frames) == kept == int(held) > 15
    assert_shows(frames, moving(kept))
    assert list(tmp_path.iterdir()) == [path]


def test_sync_waits_for_the_disk_and_counts_what_it_holds(tmp_path, monkeypatch):
    path, asked, fsync = tmp_path / "synced.mp4", [], os.fsync

    def seen(descriptor):
        asked.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    with writer(path) as video:
        assert video.sync() == 0
        assert asked == []
        for count in (1, 5):
            video.write(moving(count, first=video.frames_written))
            assert video.sync() == video.frames_written - 1 == whole_frames(path)[0]
            assert asked.pop() == (path.stat().st_ino, path.stat().st_size)
    assert video.sync() == 6
    with writer(path, keep_frames=4) as video:
        assert video.sync() == 4
        asked.clear()
        video.write(moving(3, first=4))
        assert asked.pop() == (path.stat().st_ino, path.stat().st_size)  # before the new file took the place of the old
        assert video.sync() == 6 == whole_frames(path)[0]
        assert len(asked) == 1
    assert video.sync() == 7


def test_a_video_that_got_no_block_has_nothing_to_sync(tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"old")
    with writer(tmp_path / "old.mp4", overwrite=True) as video:
        assert video.sync() == 0
    assert video.sync() == 0
