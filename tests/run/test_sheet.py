import numpy as np
import pytest
from helpers_video import moving
from PIL import Image

from steady_jax.run.sheet import GAP, contact_sheet, sheet_of_videos
from steady_jax.run.writer import VideoWriter


def cells(sheet, rows, columns, height=48, width=64):
    """The lower half of each cell, where no time is drawn, row by row."""
    pixels = np.asarray(Image.open(sheet)).astype(float)
    assert pixels.shape == (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3)
    for row in range(rows):
        for column in range(columns):
            top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
            yield pixels[top + height // 2 : top + height, left : left + width]


def write_video(path, frames):
    with VideoWriter(path, height=48, width=64) as video:
        video.write(frames)


@pytest.mark.parametrize("kind", ["array", "file", "growing", "torn"])
def test_a_sheet_shows_the_first_the_last_and_evenly_spaced_frames(tmp_path, kind):
    frames, path = moving(31), tmp_path / "v.mp4"
    write_video(path, frames)
    if kind == "torn":
        write_video(path := tmp_path / "longer.mp4", moving(32))
        path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"mdat") + 40])
    if kind == "growing":
        growing = VideoWriter(path := tmp_path / "growing.mp4", height=48, width=64)
        growing.write(moving(32))
    sheet = contact_sheet(frames if kind == "array" else path, tmp_path / "new" / "s.png", rows=2, columns=3)
    for cell, index in zip(cells(sheet, 2, 3), range(0, 31, 6), strict=True):
        errors = [np.abs(cell - frame[24:].astype(float)).mean() for frame in frames]
        assert np.argmin(errors) == index
        assert errors[index] < 5
    if kind == "growing":
        growing.close()


def test_times_are_those_of_the_frames(tmp_path):
    """The corner of each picture is what it is on a sheet that shows this frame alone at the same time."""
    grey = np.full((9, 48, 64, 3), 90, np.uint8)
    with VideoWriter(tmp_path / "v.mp4", height=48, width=64, fps=4) as video:
        video.write(grey)
    of_file = np.asarray(Image.open(contact_sheet(tmp_path / "v.mp4", tmp_path / "f.png", rows=1, columns=2)))
    of_array = np.asarray(Image.open(contact_sheet(grey, tmp_path / "a.png", rows=1, columns=2, fps=4)))
    assert np.abs(of_file.astype(int) - of_array).max() <= 3
    first, last = of_array[:, GAP : GAP + 64], of_array[:, 64 + 2 * GAP : 2 * (64 + GAP)]
    assert first.max() > 200  # "0.0 s" in white
    assert first[GAP : GAP + 24, :32].min() < 60  # on a black rim
    assert np.abs(first.astype(int) - last).max() > 100  # "2.0 s" is another text


def test_fewer_frames_than_cells_leave_cells_empty(tmp_path):
    shown = list(cells(contact_sheet(moving(2), tmp_path / "s.png", rows=2, columns=2), 2, 2))
    assert [cell.std() > 1 for cell in shown] == [True, True, False, False]


def test_a_sheet_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match="at least 1 row and 1 column, got 0 and 4"):
        contact_sheet(moving(2), tmp_path / "s.png", rows=0)
    with pytest.raises(ValueError, match=r"\[f h w 3\]"):
        contact_sheet(moving(2)[0], tmp_path / "s.png")
    with VideoWriter(tmp_path / "v.mp4", height=48, width=64) as video:
        video.write(moving(1))
        with pytest.raises(ValueError, match="no whole frame yet"):
            contact_sheet(tmp_path / "v.mp4", tmp_path / "s.png")
    with pytest.raises(FileNotFoundError, match="nothing"):
        contact_sheet(tmp_path / "nothing.mp4", tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_videos_stand_below_each_other_at_the_same_times(tmp_path):
    one, other = moving(32), moving(32)[::-1].copy()
    sheet = sheet_of_videos([one, other], tmp_path / "s.png", at=(0, 0.5, 2))
    expected = [video[index] for video in (one, other) for index in (0, 8, 31)]
    for cell, frame in zip(cells(sheet, 2, 3), expected, strict=True):
        np.testing.assert_array_equal(cell, frame[24:])
    with pytest.raises(ValueError, match=r"times lie within the video, 0\.\.2\.0 s, got \(0, 3\)"):
        sheet_of_videos([one], tmp_path / "s.png", at=(0, 3))
    with pytest.raises(ValueError, match="at least 1 video and 1 time, got 0 and 1"):
        sheet_of_videos([], tmp_path / "s.png", at=(0,))
