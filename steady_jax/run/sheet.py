"""A contact sheet: evenly spaced frames of a video on one picture, each with its time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from steady_jax.run.files import replacing
from steady_jax.run.frames import check_frames
from steady_jax.run.preview import small

GAP = 4  # pixels between pictures
BACKGROUND = (32, 32, 32)


def contact_sheet(
    video: str | Path | np.ndarray,
    sheet: str | Path,
    *,
    rows: int = 3,
    columns: int = 4,
    fps: int = 16,
    longest_side: int = 320,
) -> Path:
    """Lays the first frame, the last one and evenly spaced ones between them on a grid, row by row.

    Args:
        video: a video file, also one that still grows or whose end is torn; or frames [f h w 3] uint8.
        sheet: the picture to write, NAME.png.
        rows: pictures from top to bottom.
        columns: pictures from left to right.
        fps: frames per second of an array; a file knows its own times.
        longest_side: pixels of one picture at most.

    Returns:
        The path of the sheet.

    Raises:
        ValueError: no frame to show, or a grid without cells.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"a contact sheet has at least 1 row and 1 column, got {rows} and {columns}")
    chosen = _of_array(video, rows * columns, fps) if isinstance(video, np.ndarray) else _of_file(video, rows * columns)
    pictures = [_labelled(small(pixels, longest_side), seconds) for pixels, seconds in chosen]
    sheet = Path(sheet)
    with replacing(sheet) as partial:
        _grid(pictures, rows, columns).save(partial, format="PNG")
    return sheet


def sheet_of_videos(
    videos: Sequence[np.ndarray], sheet: str | Path, *, at: Sequence[float], fps: int = 16, longest_side: int = 160
) -> Path:
    """Lays several videos below each other, each with its frames at the same times.

    Args:
        videos: frames [f h w 3] uint8 of one size, long enough for all times.
        sheet: the picture to write, NAME.png.
        at: seconds; the end of a video is its last frame.
    Raises:
        ValueError: no video, no time, or a video that ends before one of them.
    """
    if not videos or not at:
        raise ValueError(f"a sheet has at least 1 video and 1 time, got {len(videos)} and {len(at)}")
    for frames in videos:
        check_frames(frames)
        if not 0 <= min(at) <= max(at) <= len(frames) / fps:
            raise ValueError(f"times lie within the video, 0..{len(frames) / fps} s, got {tuple(at)}")
    chosen = [(frames[min(round(time * fps), len(frames) - 1)], time) for frames in videos for time in at]
    pictures = [_labelled(small(pixels, longest_side), seconds) for pixels, seconds in chosen]
    sheet = Path(sheet)
    with replacing(sheet) as partial:
        _grid(pictures, len(videos), len(at)).save(partial, format="PNG")
    return sheet


def _evenly(total: int, count: int) -> list[int]:
    """At most `count` different indices from 0 to total - 1, both ends included."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


def _of_array(frames: np.ndarray, count: int, fps: int) -> Iterator[tuple[np.ndarray, float]]:
    check_frames(frames)
    return ((frames[index], index / fps) for index in _evenly(len(frames), count))


def _of_file(path: str | Path, count: int) -> Iterator[tuple[np.ndarray, float]]:
    with av.open(str(path)) as container:
        total = sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(video=0))
    if total == 0:
        raise ValueError(f"{path} holds no whole frame yet; wait for the first block or choose another video")
    wanted = set(_evenly(total, count))
    with av.open(str(path)) as container:
        for index, frame in zip(range(total), container.decode(video=0), strict=False):  # the end may be torn
            if index in wanted:
                yield frame.to_ndarray(format="rgb24"), frame.time


def _labelled(picture: Image.Image, seconds: float) -> Image.Image:
    """Draws the time into the upper left corner: white on a black rim, readable on any picture."""
    size = max(10, picture.height // 10)
    ImageDraw.Draw(picture).text(
        (size // 3, size // 4),
        f"{seconds:.1f} s",
        fill="white",
        stroke_width=max(1, size // 10),
        stroke_fill="black",
        font=ImageFont.load_default(size),
    )
    return picture


def _grid(pictures: list[Image.Image], rows: int, columns: int) -> Image.Image:
    """Places pictures of one size row by row; cells without a picture stay empty."""
    width, height = pictures[0].width + GAP, pictures[0].height + GAP
    canvas = Image.new("RGB", (columns * width + GAP, rows * height + GAP), BACKGROUND)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        canvas.paste(picture, (GAP + column * width, GAP + row * height))
    return canvas
