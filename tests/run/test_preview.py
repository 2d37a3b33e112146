import gc

import numpy as np
import pytest
from helpers_video import moving
from PIL import Image

from steady_jax.run.preview import Preview
from steady_jax.run.writer import VideoWriter


def shades(count, height=20, width=40):
    """Grey frames, the last one white: a picture tells its place. WebP joins pictures that hardly differ."""
    levels = np.linspace(0, 255, count).round().astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def shown(path):
    """Per picture of an animated file: its mean grey level, its size and its milliseconds."""
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        for index in range(image.n_frames):
            image.seek(index)
            yield np.asarray(image.convert("L")).mean(), image.size, image.info["duration"]


def pictures(path):
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            yield image.convert("RGB")


@pytest.mark.parametrize(
    ("total", "stride", "milliseconds"), [(6, 1, 62), (9, 2, 125), (16, 2, 125), (17, 4, 125), (50, 8, 125)]
)
def test_a_preview_keeps_evenly_spaced_frames(tmp_path, total, stride, milliseconds):
    preview = Preview(tmp_path / "p.webp", limit=8)
    for block in np.split(shades(total), range(5, total, 5)):
        preview.add(block)
    levels, sizes, durations = zip(*shown(preview.save()), strict=True)
    assert len(levels) <= 8
    assert [round(level * (total - 1) / 255) for level in levels] == list(range(0, total, stride))
    assert set(sizes) == {(40, 20)}
    assert set(durations) == {milliseconds}


def test_large_frames_become_small_ones(tmp_path):
    preview = Preview(tmp_path / "p.webp", longest_side=32)
    preview.add(shades(3, height=100, width=50))
    assert {size for _, size, _ in shown(preview.save())} == {(16, 32)}


def test_memory_does_not_grow_with_the_video(tmp_path):
    preview = Preview(tmp_path / "p.webp", limit=4)
    for _ in range(100):
        preview.add(shades(8))
    gc.collect()
    assert sum(issubclass(type(thing), Image.Image) for thing in gc.get_objects()) < 10  # of 800


@pytest.mark.parametrize("taken", [1, 12, 23])
def test_the_frames_of_a_video_count_like_frames_that_came(tmp_path, taken):
    path = tmp_path / "v.mp4"
    with VideoWriter(path, height=20, width=40) as video:
        video.write(np.stack([shades(30)[..., 0], shades(30)[::-1, ..., 0], 0 * shades(30)[..., 0]], -1))
    path.write_bytes(path.read_bytes()[:-400])  # a torn end
    of_file, of_frames = (Preview(tmp_path / name, limit=8) for name in ("file.webp", "frames.webp"))
    for preview in (of_file, of_frames):
        preview.add(shades(30)[:2])
    of_file.add_video(path, taken)
    for index in range(taken):
        level = shades(30)[index, ..., 0]
        of_frames.add(np.stack([level, 255 - level, 0 * level], -1)[None])
    for preview in (of_file, of_frames):
        preview.add(shades(30)[::-1][:7])
    of_file, of_frames = ([np.asarray(frame) for frame in pictures(preview.save())] for preview in (of_file, of_frames))
    assert len(of_file) == len(of_frames) > 4
    for one, other in zip(of_file, of_frames, strict=True):
        assert np.abs(one.mean((0, 1)) - other.mean((0, 1))).max() < 4  # of 255, per colour; neighbours differ by 9


def test_a_preview_takes_no_more_frames_than_a_video_has(tmp_path):
    path = tmp_path / "v.mp4"
    with VideoWriter(path, height=20, width=40) as video:
        video.write(shades(3))
    preview = Preview(tmp_path / "p.webp")
    for frames, words in ((4, "holds 3 whole frames .* fewer than the 4"), (0, "at least 1 frame .* got 0")):
        with pytest.raises(ValueError, match=words):
            preview.add_video(path, frames)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        preview.add_video(tmp_path / "none.mp4", 1)
    preview.add_video(str(path), 3)
    assert len(list(shown(preview.save()))) == 3


def test_a_preview_can_be_saved_again_and_may_be_empty(tmp_path):
    preview = Preview(tmp_path / "new" / "p.webp")
    assert preview.save() is None
    assert list(tmp_path.iterdir()) == []
    preview.add(moving(2))
    preview.save()
    preview.add(moving(3, first=2))
    assert len(list(shown(preview.save()))) == 5
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["p.webp"]


def test_a_preview_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match=r"limit of at least 2 frames .* got 16, 1 and 320"):
        Preview(tmp_path / "p.webp", limit=1)
    with pytest.raises(TypeError, match="uint8"):
        Preview(tmp_path / "p.webp").add(moving(2).astype(np.int32))
