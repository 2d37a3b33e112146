"""One video from a stream of frames: mp4, preview, settings and a progress line, all while the frames arrive."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from steady_jax.run.preview import Preview
from steady_jax.run.progress import Progress
from steady_jax.run.sidecar import sidecar_path, write_sidecar
from steady_jax.run.writer import VideoWriter


@dataclasses.dataclass(frozen=True)
class Video:
    """A video to be written: NAME.mp4 and, beside it, NAME.webp (preview) and NAME.json (settings)."""

    path: Path
    height: int  # pixels
    width: int
    fps: int

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Everything that recording writes."""
        return self.path, self.path.with_suffix(".webp"), sidecar_path(self.path)


def record(
    blocks: Iterator[np.ndarray],
    video: Video,
    total_frames: int,
    settings: Mapping[str, Any],
    *,
    overwrite: bool = False,
    check: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, float]:
    """Writes a stream of blocks (uint8 [f h w 3]) to a video.

    Whatever ends the stream early, the frames so far are a playable video with its preview, and the settings beside it
    say "interrupted". Stages before the first frame show as "compiling".

    Args:
        total_frames: frames that the whole stream will have.
        settings: what made the video (config, seed, prompt, versions), for the JSON beside it.
        overwrite: replace files that exist.
        check: called after each block; what it raises ends the video early.
    Returns: seconds to the first block, seconds in all, and frames per second after the first block.
    Raises: what the stream or the disk raises, KeyboardInterrupt included.
    """
    preview, timings = Preview(video.files[1], fps=video.fps), _Timings(clock)
    writer = VideoWriter(
        video.path,
        height=video.height,
        width=video.width,
        fps=video.fps,
        overwrite=overwrite,
        comment=settings["prompt"],
    )
    status, disk = "interrupted", contextlib.suppress(OSError)  # on a full disk the first error is the one to tell
    try:
        with writer, Progress(total_frames, clock=clock) as progress:
            progress.stage("compiling and making the first block")
            for frames in blocks:
                writer.write(frames)
                preview.add(frames)
                timings.add(len(frames))
                progress.update(writer.frames_written)
                write_sidecar(video.path, status="running", frames=writer.frames_written, **settings)
                check()
        status, disk = "complete", contextlib.nullcontext()
    finally:
        if writer.frames_written:
            seconds = timings.summary()
            with disk:
                write_sidecar(video.path, status=status, frames=writer.frames_written, timings=seconds, **settings)
                preview.save()  # last: it is the one that can be missed
    return timings.summary()


class _Timings:
    """When blocks arrived."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._first = self._last = None
        self._frames_after_first = 0

    def add(self, frames: int) -> None:
        self._last = self._clock()
        if self._first is None:
            self._first = self._last
        else:
            self._frames_after_first += frames

    def summary(self) -> dict[str, float]:
        if self._first is None:
            return {}
        after_first = self._last - self._first
        summary = {"first_block_seconds": self._first - self._start, "seconds": self._last - self._start}
        if self._frames_after_first and after_first > 0:
            summary["frames_per_second_after_first_block"] = self._frames_after_first / after_first
        return {name: round(value, 3) for name, value in summary.items()}
