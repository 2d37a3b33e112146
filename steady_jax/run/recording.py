"""Videos from a session: mp4, preview and settings while frames arrive, and states from which a restart goes on."""

import contextlib
import dataclasses
import hashlib
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steady_jax.run.fragments import whole_frames
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.preview import Preview
from steady_jax.run.progress import Progress
from steady_jax.run.sidecar import sidecar_path, write_sidecar
from steady_jax.run.writer import VideoWriter

LAST_FRAMES = "last_frames"  # in a state: of each video, the frame that its file may lack after a kill


@typing.runtime_checkable
class Resumable(typing.Protocol):
    """What `record` needs of a session."""

    finished: bool  # no block is left

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks uint8 [videos f h w 3]."""
        ...

    def save(self, folder: Path, *, compact: bool, record: Mapping[str, Any], extra: Mapping[str, np.ndarray]) -> Path:
        """Saves what a restart needs; raises OSError if it cannot."""
        ...


@dataclasses.dataclass(frozen=True)
class Video:
    """A video to be written: NAME.mp4 and, beside it, NAME.webp (preview), NAME.json (settings) and, until it is
    complete, NAME.state (what a restart needs).
    """

    path: Path
    height: int  # pixels
    width: int
    fps: int

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Everything that is there when the video is complete."""
        return self.path, self.path.with_suffix(".webp"), sidecar_path(self.path)

    @property
    def states(self) -> Path:
        """Folder of the states."""
        return self.path.with_suffix(".state")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """How far a video was when a state was saved."""

    name: str  # of its file
    frames: int
    digest: str
    seconds: float  # that it had taken
    last_frame: np.ndarray  # uint8 [h w 3]


class Recording:
    """One video while its frames arrive; the settings beside it say "running", "complete" or "interrupted".

    Args:
        settings: what made the video (config, seed, prompt, versions), for the JSON beside it.
        overwrite: replace files that exist.
        after: go on in the file after what a state says was recorded.
    """

    def __init__(
        self,
        video: Video,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        after: Recorded | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keep = after.frames - 1 if after else 0  # the file of a killed process may lack the last frame
        self.video = video
        self.frames = after.frames if after else 0
        self.digest = after.digest if after else ""
        self.last_frame: np.ndarray | None = after.last_frame if after else None
        self._settings, self._timings = settings, _Timings(clock, after.seconds if after else 0.0)
        self._missing = after is not None  # the last frame of the state goes before the next block
        self._preview = Preview(video.files[1], fps=video.fps)
        self._writer = VideoWriter(
            video.path,
            height=video.height,
            width=video.width,
            fps=video.fps,
            overwrite=overwrite or (after is not None and keep == 0),
            keep_frames=keep,
            comment=settings["prompt"],
        )
        if keep:
            self._preview.add_video(video.path, keep)

    @property
    def seconds(self) -> float:
        """Seconds that the video has taken, those before a restart included."""
        return self._timings.summary().get("seconds", 0.0)

    def add(self, frames: np.ndarray) -> None:
        """Takes the next block, uint8 [f h w 3]."""
        if not self.frames:
            self._describe("running")  # before the first frames: files that do not say what made them are left alone
        block = np.concatenate([self.last_frame[None], frames]) if self._missing else frames
        self._missing = False
        self._writer.write(block)
        self._preview.add(block)
        self._timings.add(len(frames))
        for frame in frames:
            self.digest = hashlib.sha256(self.digest.encode() + frame.tobytes()).hexdigest()
        self.frames += len(frames)
        self.last_frame = frames[-1]
        self._describe("running")

    def sync(self) -> None:
        """Waits until the disk has what a state relies on: all frames but the last."""
        self._writer.sync()

    def close(self, *, complete: bool) -> dict[str, float]:
        """Ends the files. Returns seconds to the first block, seconds in all, and frames per second after the first
        block.
        """
        self._writer.close()
        if self._timings.summary():
            self._describe("complete" if complete else "interrupted", timings=self._timings.summary())
            self._preview.save()  # last: it is the one that can be missed
        return self._timings.summary()

    def _describe(self, status: str, **more: Any) -> None:
        write_sidecar(
            self.video.path, status=status, frames=self.frames, frames_sha256=self.digest, **more, **self._settings
        )


def record(
    session: Resumable,
    recordings: Sequence[Recording],
    progress: Progress,
    *,
    states: Path | None = None,
    save_every: float = 0.0,
    compact: bool = False,
    interrupt: Interrupt | None = None,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[dict[str, float]]:
    """Writes the blocks of a session to its videos, until it ends or is interrupted.

    Whatever ends it early, the frames so far are playable videos, and where it ended between two blocks (as it does
    after Ctrl-C) a state is saved from which a restart goes on.

    Args:
        states: folder of the states; None: none are saved. The caller removes it when the videos are complete.
        save_every: seconds between states; 0: only when it is interrupted.
        compact: see `Session.save`.
        interrupt: how the person at the terminal ends it. Once the first block is made it acts between two blocks.
        say: takes what the person at the terminal should know.
    Returns: the timings of each video, see `Recording.close`.
    Raises: what the session or the disk raises, KeyboardInterrupt included.
    """
    interrupt = interrupt or Interrupt()
    blocks, complete, resumable, saved_at = iter(session), False, False, clock()
    timings = []

    def save() -> None:
        for recording in recordings:
            recording.sync()
        described = [
            {"name": one.video.path.name, "frames": one.frames, "digest": one.digest, "seconds": one.seconds}
            for one in recordings
        ]
        last = {LAST_FRAMES: np.stack([one.last_frame for one in recordings])}
        session.save(states, compact=compact, record={"recordings": described}, extra=last)

    progress.stage("compiling and making the first block")
    frames = next(blocks, None)  # not held: there is nothing to lose yet, and compiling takes long
    with interrupt.held():
        try:
            while frames is not None:
                for recording, own in zip(recordings, frames, strict=False):  # a batch may be filled up
                    recording.add(own)
                progress.add(frames.shape[1] * len(recordings))
                if not session.finished:  # or nothing would be left to go on with
                    resumable = True
                    if states and save_every and clock() - saved_at >= save_every:
                        _attempt(save, say)
                        saved_at = clock()
                    interrupt.check()
                    resumable = False
                frames = next(blocks, None)
            complete = True
        finally:
            if states and resumable:
                say("saving the state; Ctrl-C again gives it up")
            if states and resumable and _attempt(save, say):
                seconds = recordings[0].frames / recordings[0].video.fps
                say(f"the state at {seconds:.1f} s is saved in {states}; --resume goes on from there")
            for recording in recordings:
                # on a full disk the first error is the one to tell
                with contextlib.nullcontext() if complete else contextlib.suppress(OSError):
                    timings.append(recording.close(complete=complete))
    return timings


def recorded(record: Mapping[str, Any], last_frames: np.ndarray) -> list[Recorded]:
    """What a state says of its videos.

    Args:
        record: as `record` gave it to `Session.save`.
        last_frames: the array of that name.
    """
    return [
        Recorded(last_frame=np.asarray(frame), **described)
        for described, frame in zip(record["recordings"], last_frames, strict=True)
    ]


def names_in(record: Mapping[str, Any]) -> list[str]:
    """The file names of the videos that a state is of; `record` as in `recorded`."""
    return [one["name"] for one in record.get("recordings", [])]


def check_videos(record: Mapping[str, Any], videos: Sequence[Video]) -> None:
    """Raises ValueError if a state is of other videos than these, in this order, or of more frames than they have.

    Args:
        record: as `record` gave it to `Session.save`.
    """
    held, wanted = names_in(record), [video.path.name for video in videos]
    if held != wanted:
        raise ValueError(
            f"videos that were made in step go on in step: the state holds {', '.join(held)}, got {', '.join(wanted)}; "
            "ask for the same prompts as before, or start anew"
        )
    for one, video in zip(record["recordings"], videos, strict=True):
        kept = one["frames"] - 1
        held = whole_frames(video.path)[0] if video.path.exists() else 0
        if held < kept:
            raise ValueError(
                f"{video.path} goes on after its first {kept} frames, but holds {held}; put the file back, or start "
                "anew with --overwrite"
            )


def _attempt(save: Callable[[], None], say: Callable[[str], None]) -> bool:
    """Saves a state; a disk that refuses is no reason to end a video that goes on."""
    try:
        save()
    except OSError as error:
        say(f"note: {error}")
        return False
    return True


class _Timings:
    """When blocks arrived."""

    def __init__(self, clock: Callable[[], float], seconds_before: float) -> None:
        self._clock = clock
        self._start, self._before = clock(), seconds_before
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
        summary = {
            "first_block_seconds": self._first - self._start,
            "seconds": self._before + self._last - self._start,
        }
        if self._frames_after_first and after_first > 0:
            summary["frames_per_second_after_first_block"] = self._frames_after_first / after_first
        return {name: round(value, 3) for name, value in summary.items()}
