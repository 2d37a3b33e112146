"""Pictures and clips that a video starts from: read, resized to the video, and cut to whole blocks.

Frames are uint8, red, green and blue. Sizes are said as everywhere in the package, rows x columns: 480x832.
A clip is read while its frames are used, so it may be of any length.
"""

import collections
import contextlib
import dataclasses
import itertools
import math
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps, UnidentifiedImageError

from steady_jax.scenes import FRAMES_PER_SECOND

WHEN_ODD = ("error", "crop")
PAPER = (255, 255, 255, 255)  # what shows through transparent pixels: white, as on a page
WHITE_OF_16_BITS = 2**16 - 1
ROUNDING = Fraction(1, 1000)  # seconds that a frame may come late: Matroska rounds times to milliseconds


def read_picture(path: str | Path) -> np.ndarray:
    """Reads a picture of any kind that PIL knows: of an animation its first frame, of a photo upright (EXIF).

    What is transparent becomes white. 16-bit greys are scaled to 8 bits. Colour profiles are not applied.

    Returns:
        Pixels [1 h w 3], uint8.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: it is no picture, is damaged, holds numbers that are no colours, or is too large to be unpacked
            safely.
    """
    path = Path(path)
    _check_file(path)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's words about damaged EXIF: the picture itself may be sound
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as picture:
                return np.array(_rgb(ImageOps.exif_transpose(picture)))[None]
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            size = str(error).partition(",")[0]
            raise ValueError(f"{path} is too large to be unpacked safely: {size}; make the picture smaller") from error
        except UnidentifiedImageError as error:
            raise _no_picture(path, "it is of no known kind") from error
        except Exception as error:  # PIL lets through what it meets in a damaged file: OSError, SyntaxError, KeyError
            raise _no_picture(path, error) from error


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video file as `read_clip` found it. Frames are read from the file whenever they are asked for."""

    path: Path
    height: int  # rows of a frame as it is shown: upright, with square pixels
    width: int  # columns of it
    fps: int  # frames that are taken per second
    frames: int  # how many are taken of the whole clip
    source_fps: float  # frames per second of the file, as it says; 0 if it does not
    seconds: float  # length

    def frames_from(self, first: int = 0) -> Iterator[np.ndarray]:
        """Reads the frames [h w 3] uint8 from number `first` on. One is in memory at a time.

        Raises:
            ValueError: there is no such frame.
        """
        if not 0 <= first < self.frames:
            raise ValueError(f"{self.path} has frames 0..{self.frames - 1} at {self.fps} per second, got {first}")
        # up to the number that was counted, should the file grow
        taken = itertools.islice(_taken(_timed(self.path), self.fps), first, self.frames)
        to_rgb = VideoReformatter()
        return (_upright(frame, self.height, self.width, to_rgb) for frame in taken)


def read_clip(path: str | Path, fps: int = FRAMES_PER_SECOND) -> Clip:
    """Opens a video file of any kind and rate that FFmpeg knows, and decodes it once to see that all of it is there.

    Frames are chosen by time: number k is the one that is shown k / fps seconds after the first, so that motion keeps
    its speed. A rotation that the file asks for is applied and pixels are made square; a mirror image stays one,
    interlaced lines stay, and the colours of HDR are not mapped.

    Args:
        fps: frames to take per second.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: it is no video, holds only audio, holds no frame that can be decoded, or FFmpeg notices that it is
            damaged.
    """
    if fps < 1:
        raise ValueError(f"fps is at least 1 frame per second, got {fps}")
    path = Path(path)
    _check_file(path)
    with _video(path) as (_, stream):
        source_fps, pixel_shape = float(stream.average_rate or 0), stream.sample_aspect_ratio or 1
    timed = _timed(path)
    _, first = next(timed)
    seconds, _ = collections.deque(timed, maxlen=1).pop()
    height, width = first.height, round(first.width * pixel_shape)
    if _quarter_turns(first) % 2:
        height, width = width, height
    return Clip(path, height, width, fps, _instants_before(seconds, fps), source_fps, float(seconds))


def fitted(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes frames until they just cover a size, and cuts off evenly what stands over. `fit_text` says it in words.

    Args:
        frames: pixels [f h w 3], uint8.
        height, width: pixels.

    Returns:
        Pixels [f height width 3], uint8; frames that have the size already come back as they are.
    """
    source_height, source_width = frames.shape[1:3]
    if (source_height, source_width) == (height, width):
        return frames
    rows, columns = _covering(source_height, source_width, height, width)
    top, left = (rows - height) // 2, (columns - width) // 2
    # only the part that stays is resized: of a narrow strip, the whole would not fit into memory
    kept = (
        left * source_width / columns,
        top * source_height / rows,
        (left + width) * source_width / columns,
        (top + height) * source_height / rows,
    )
    resized = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS, box=kept) for frame in frames]
    return np.stack([np.asarray(picture) for picture in resized])


def fit_text(source_height: int, source_width: int, height: int, width: int) -> str:
    """What `fitted` does to frames of the source's size, in words; "" if nothing."""
    rows, columns = _covering(source_height, source_width, height, width)
    cut, line = max((rows - height, "row"), (columns - width, "column"))  # one of the two is 0
    done = [
        *([f"resized to {rows}x{columns}"] if (rows, columns) != (source_height, source_width) else []),
        *([f"cropped by {cut} {line}{'s' if cut > 1 else ''}"] if cut else []),
    ]
    return f"{source_height}x{source_width} (rows x columns) is {' and '.join(done)}" if done else ""


def whole_blocks(frames: int, block_frames: int, temporal_stride: int, when_odd: str) -> tuple[int, int]:
    """Which frames of a clip a video goes on from: whole blocks, 1 + stride * (block_frames * k - 1) frames, k >= 1.

    Args:
        frames: pixel frames of the clip, at 16 per second.
        block_frames: latent frames of a block.
        temporal_stride: pixel frames per latent frame, after the first.
        when_odd: what to do with a clip of another length: "error", or "crop" to leave out its beginning.

    Returns:
        Number of the first frame to use, counted from 0, and how many to use.

    Raises:
        ValueError: the clip is shorter than a block; it does not fit, and `when_odd` is "error"; or `when_odd` is
            neither of the two.
    """
    if when_odd not in WHEN_ODD:
        raise ValueError(f"when_odd is one of {', '.join(WHEN_ODD)}, got {when_odd!r}")
    block = temporal_stride * block_frames  # pixel frames of a block, but for the first one
    fewest = block - temporal_stride + 1
    if frames < fewest:
        raise ValueError(
            f"a clip to go on from has at least {_lasting(fewest)}, which make one block, got {_lasting(frames)};"
            " give a longer clip, or a picture to start from"
        )
    odd = (frames - fewest) % block
    fits = frames - odd
    if odd and when_odd == "error":
        raise ValueError(
            f"a clip to go on from fills whole blocks with 1 + {temporal_stride} * ({block_frames} * k - 1) frames,"
            f" got {_lasting(frames)}; the nearest that fit are {fits} and {fits + block}: cut the clip, or set"
            f' when_odd to "crop" to go on from its last {fits}'
        )
    return odd, fits


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name a picture or a video that does")


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise ValueError("its pixels are fractions, and none is said to be white")
    if picture.mode.startswith("I"):
        return _from_16_bits(np.asarray(picture)).convert("RGB")
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, PAPER), over).convert("RGB")
    return picture.convert("RGB")


def _from_16_bits(greys: np.ndarray) -> Image.Image:
    if greys.min() < 0 or greys.max() > WHITE_OF_16_BITS:
        raise ValueError(f"its pixels are 0..{WHITE_OF_16_BITS} in 16 bits, got {greys.min()}..{greys.max()}")
    return Image.fromarray(np.rint(greys / WHITE_OF_16_BITS * 255).astype(np.uint8))


@contextlib.contextmanager
def _video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Opens a file at its first stream of moving pictures."""
    try:
        # an absolute path, as FFmpeg takes "word:" at the beginning of a name for a protocol; and tags may be in any
        # encoding, which is no reason not to show the pictures
        container = av.open(str(path.absolute()), metadata_errors="ignore")
    except av.FFmpegError as error:
        raise _no_video(path, error.strerror) from error
    with container:
        if container.format.name == "tty":  # FFmpeg plays any text file as drawings made of letters
            raise _no_video(path, "it is text")
        moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not moving:
            held = "only audio" if container.streams.audio else "no video"
            raise ValueError(f"a clip holds moving pictures, but {path} holds {held}; give another file")
        yield container, moving[0]


def _timed(path: Path) -> Iterator[tuple[Fraction, av.VideoFrame | None]]:
    """Decodes a video: when each frame begins, seconds after the first one, and the frame; last the end, and None."""
    begin = end = Fraction(0)
    shift = None  # from the file's times to ours
    with _video(path) as (container, stream):
        try:
            for frame in container.decode(stream):  # not in frame threads: they lose the error at a torn end
                if frame.is_corrupt:
                    raise _damaged(path, end, "a part of a frame is missing")
                stamp = None if frame.pts is None else frame.pts * frame.time_base  # bare H.264 has no times
                if stamp is not None and (shift is None or stamp + shift < begin):
                    shift = end - stamp  # times begin, or begin anew, as in files that were joined
                begin = end if stamp is None else stamp + shift
                yield begin, frame
                end = begin + (frame.duration * frame.time_base or Fraction(1, FRAMES_PER_SECOND))
        except av.FFmpegError as error:
            raise _damaged(path, end, error.strerror) from error
    if not end:
        raise _damaged(path, end, "the file ends before one")
    yield end, None


def _taken(timed: Iterator[tuple[Fraction, av.VideoFrame | None]], fps: int) -> Iterator[av.VideoFrame]:
    """Of the frames of a video those that are shown at the instants k / fps, each as often as it is."""
    taken = 0
    for (_, frame), (until, _) in itertools.pairwise(timed):
        due = _instants_before(until, fps)
        yield from itertools.repeat(frame, due - taken)
        taken = due


def _instants_before(time: Fraction, fps: int) -> int:
    """How many of the instants k / fps, k >= 0, lie before a time in seconds; the first one always does."""
    return max(1, math.ceil((time - ROUNDING) * fps))


def _quarter_turns(frame: av.VideoFrame) -> int:
    """How often a frame has to be turned to the left to be upright."""
    return round(frame.rotation / 90)


def _upright(frame: av.VideoFrame, height: int, width: int, to_rgb: VideoReformatter) -> np.ndarray:
    turns = _quarter_turns(frame)
    rows, columns = (width, height) if turns % 2 else (height, width)  # as stored
    rgb = to_rgb.reformat(frame, width=columns, height=rows, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, turns))


def _covering(source_height: int, source_width: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the smallest picture of the source's shape that covers height x width."""
    if source_width * height > source_height * width:  # too wide
        return height, math.ceil(Fraction(source_width * height, source_height))
    return math.ceil(Fraction(source_height * width, source_width)), width


def _lasting(frames: int) -> str:
    return f"{frames} frames ({frames / FRAMES_PER_SECOND:.1f} s)"


def _no_picture(path: Path, cause: object) -> ValueError:
    return ValueError(f"{path} cannot be read as a picture ({cause}); save it again as PNG or JPEG, or give another")


def _no_video(path: Path, cause: str) -> ValueError:
    return ValueError(f"{path} cannot be read as a video ({cause}); convert it to mp4 with H.264, or give another clip")


def _damaged(path: Path, end: Fraction, cause: str) -> ValueError:
    if not end:
        return ValueError(f"{path} holds no frame that can be decoded ({cause}); give another clip")
    return ValueError(
        f"{path} is damaged after its first {float(end):.1f} s ({cause}); cut it there, or give another clip"
    )
