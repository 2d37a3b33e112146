"""What a video goes on from: a picture or a clip, in whole blocks."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from steady_jax.pictures import Clip, fitted, whole_blocks
from steady_jax.shapes import UInt8

Frame = UInt8[np.ndarray, "h w rgb"]
Video = UInt8[np.ndarray, "f h w rgb"]


@dataclasses.dataclass(frozen=True)
class Start:
    """Frames that a video goes on from, read when they are needed and never all at once."""

    frames: Callable[[], Iterator[Frame]]  # from the first one, whenever it is called
    blocks: int  # that they fill
    shown: int  # pixel frames that come out: all of a clip, one of a picture
    digest: str  # tells it from others

    @property
    def is_picture(self) -> bool:
        """Whether it is one picture, repeated."""
        return self.shown == 1


def start_from(
    clip: Clip | Video, height: int, width: int, block_frames: int, temporal_stride: int, *, when_odd: str = "error"
) -> Start:
    """Lays a picture (one frame) or a clip out in whole blocks; see `SteadyPipeline.start_from`.

    A picture is repeated until it fills one block: policies evict whole blocks, and a block of one frame would leave
    them with evictions of a size that they refuse.
    """
    block = temporal_stride * block_frames
    if isinstance(clip, Clip):
        first, count = whole_blocks(clip.frames, block_frames, temporal_stride, when_odd)
        return Start(
            lambda: (fitted(frame[None], height, width)[0] for frame in islice(clip.frames_from(first), count)),
            blocks=(count + temporal_stride - 1) // block,
            shown=count,
            digest=f"sha256 {_digest(clip.path)} {first}+{count}",
        )
    if clip.shape[1:3] != (height, width):
        raise ValueError(
            f"frames to start from must have the video's size {height}x{width}, got {clip.shape[1]}x{clip.shape[2]}; "
            "pictures.fitted resizes and crops them"
        )
    digest = hashlib.sha256(clip.tobytes()).hexdigest()
    if len(clip) == 1:
        repeats = block - temporal_stride + 1
        return Start(lambda: iter([clip[0]] * repeats), blocks=1, shown=1, digest=f"sha256 {digest}")
    first, count = whole_blocks(len(clip), block_frames, temporal_stride, when_odd)
    chosen = clip[first : first + count]
    blocks = (count + temporal_stride - 1) // block
    return Start(lambda: iter(chosen), blocks=blocks, shown=count, digest=f"sha256 {digest} {first}+{count}")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
