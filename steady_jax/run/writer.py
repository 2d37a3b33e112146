"""Writes a video while its frames arrive: H.264 in fragmented mp4, readable at any moment.

Every frame is a fragment of its own and goes to the operating system when the next one comes. So a file that still
grows, or whose process was killed, plays up to the last frame but one that was written. No frame is kept in memory.
A video that exists can go on after any of its frames: those before are copied packet by packet, not encoded again.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from steady_jax.run.files import make_folder_of, replacing
from steady_jax.run.fragments import cut_after_whole_frames, whole_frames
from steady_jax.run.frames import check_frames
from steady_jax.run.remux import check_goes_on, copy_packets, first_frames

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
FRAGMENTS = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
LOW_DELAY = {"tune": "zerolatency", "bf": "0"}  # a frame in is a frame out: the encoder holds nothing back
AS_STORED = {"x264-params": "annexb=0"}  # packets in the form of mp4, which those copied from an older file have too
BT709 = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}


class VideoWriter:
    """Writes blocks of frames to one mp4; a context manager. The file appears with the first block, not before.

    Args:
        path: the video, NAME.mp4. Its folder is made if missing.
        height: rows of a frame, even.
        width: columns of a frame, even.
        fps: frames per second.
        crf: quality of x264, 1 (largest file) to 51 (smallest file); 18 looks like the original.
        preset: effort of x264, one of `PRESETS`. Slower ones barely shrink a video that is written without delay.
        comment: text for the file's comment tag, for example its settings as JSON.
        overwrite: replace an existing file. It stays as it is until the first block comes.
        keep_frames: go on in an existing file after that many frames; what follows them is dropped. The file stays as
            it is until the first block comes, for which the disk must hold the kept frames twice.

    Raises:
        FileExistsError: `path` exists and neither `overwrite` nor `keep_frames` is set.
        FileNotFoundError: there is no file of which frames could be kept.
        NotADirectoryError: a file stands where the folder of `path` should be.
        ValueError: a size, a setting or a name that no mp4 can have; a file that holds fewer whole frames than are to
            be kept, or was made with other settings.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        height: int,
        width: int,
        fps: int = 16,
        crf: int = 18,
        preset: str = "veryfast",
        comment: str = "",
        overwrite: bool = False,
        keep_frames: int = 0,
    ) -> None:
        _check_settings(height, width, fps, crf, preset)
        _check_keep(keep_frames, overwrite)
        self.path = Path(path)
        self.frames_written = self._keep_frames = keep_frames
        self._height, self._width, self._fps = height, width, fps
        self._codec_options = {"crf": str(crf), "preset": preset, **LOW_DELAY, **AS_STORED, **BT709}
        self._comment, self._overwrite = comment, overwrite
        self._container: av.container.OutputContainer | None = None
        self._to_yuv = VideoReformatter()
        self._closed = False
        _check_target(self.path, overwrite or keep_frames > 0)
        if keep_frames:
            check_goes_on(self.path, keep_frames, self._output(self.path)[1].codec_context)

    def write(self, frames: np.ndarray) -> None:
        """Appends one block, which starts with a keyframe. All but its last frame can be read when this returns.

        Args:
            frames: pixels [f h w 3], uint8, of the size given at the start.

        Raises:
            TypeError: other values than uint8. Nothing is written, and the video can go on.
            ValueError: another shape or size (nothing is written, the video can go on), or a closed writer; also if the
                frames to be kept cannot be read (the video is closed, the file as it was).
            FileNotFoundError: the file with the frames to be kept is gone; the video can go on when it is back.
            OSError: the disk refuses, for example because it is full. The video is closed; what it says is kept plays.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed; open another VideoWriter for more frames")
        check_frames(frames)
        if frames.shape[1:3] != (self._height, self._width):
            got = f"{frames.shape[1]} x {frames.shape[2]}"
            raise ValueError(f"frames of {self.path} are {self._height} x {self._width} (rows x columns), got {got}")
        if self._container is None and self._keep_frames:
            self._go_on(frames)
            return
        if self._container is None:
            self._open()
        with self._kept_on_failure():
            self._write_block(frames)

    def sync(self) -> int:
        """Waits until the disk itself holds what can be read of the file, so that it outlives a power cut.

        Returns:
            How many frames that is: all but the last while the file grows, all when it does not.

        Raises:
            OSError: the disk refuses.
        """
        if not self.frames_written:
            return 0
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        grows = self._container is not None and not self._closed
        return self.frames_written - grows

    def close(self) -> None:
        """Ends the file. A second call does nothing.

        Raises:
            OSError: the disk refuses the last frame.
        """
        if self._closed:
            return
        self._closed = True
        if self._container is not None:
            with self._kept_on_failure():
                self._container.mux(self._stream.encode(None))
                self._container.close()
                self._check_end()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        container, stream = self._output(self.path)
        if not self._overwrite:
            _claim(self.path)
        self._container, self._stream = container, stream

    def _output(self, path: Path) -> tuple[av.container.OutputContainer, av.VideoStream]:
        container = av.open(str(path), "w", format="mp4", container_options=FRAGMENTS)  # touches no file yet
        container.metadata["comment"] = self._comment
        stream = container.add_stream("libx264", rate=self._fps, options=self._codec_options)
        stream.height, stream.width, stream.pix_fmt = self._height, self._width, "yuv420p"
        stream.codec_context.open()  # a broken encoder fails here, before anything is replaced
        return container, stream

    def _go_on(self, frames: np.ndarray) -> None:
        """Writes the kept frames and the first block beside the old file, then puts them in its place."""
        with first_frames(self.path, self._keep_frames) as old, self._old_on_failure(), replacing(self.path) as partial:
            self._container, self._stream = self._output(partial)
            copied = copy_packets(old, self._container, self._stream)
            if copied != self._keep_frames:
                raise ValueError(
                    f"{self.path} is damaged: {copied} of its first {self._keep_frames} frames can be read;"
                    " go on after fewer, or begin a new video"
                )
            self._write_block(frames)
            # only the last frame of the block is held back: the kept ones are all in the file that takes over now. It
            # is still open and goes on growing, as on POSIX an open file stays the same file under another name

    def _write_block(self, frames: np.ndarray) -> None:
        for index, pixels in enumerate(frames):
            self._write_frame(pixels, keyframe=index == 0)

    def _write_frame(self, pixels: np.ndarray, keyframe: bool) -> None:
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = self._to_yuv.reformat(
            rgb,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        frame.pts, frame.time_base = self.frames_written, Fraction(1, self._fps)
        self._container.mux(self._stream.encode(frame))
        self.frames_written += 1

    def _check_end(self) -> None:
        """FFmpeg does not say when the end of a file fails to reach the disk, so look."""
        if whole_frames(self.path)[0] < self.frames_written:
            raise OSError(errno.EIO, "The end of the video did not reach the disk")

    @contextlib.contextmanager
    def _kept_on_failure(self) -> Iterator[None]:
        """Turns a failed write into an error that says what is left, and leaves whole frames only."""
        try:
            yield
        except OSError as error:
            self._closed = True
            with contextlib.suppress(OSError):
                self._container.close()  # fails like the write before it, but lets go of the file
            self.frames_written = cut_after_whole_frames(self.path)
            raise self._cannot_grow(error) from error

    @contextlib.contextmanager
    def _old_on_failure(self) -> Iterator[None]:
        """Closes the video with the old file as it was if the kept frames and the first block cannot take its place."""
        try:
            yield
        except BaseException as error:
            self._closed, self.frames_written = True, self._keep_frames
            if self._container is not None:
                with contextlib.suppress(OSError):
                    self._container.close()  # lets go of a file that is removed already
            if isinstance(error, OSError):
                raise self._cannot_grow(error) from error
            raise

    def _cannot_grow(self, error: OSError) -> OSError:
        seconds = self.frames_written / self._fps
        return OSError(
            error.errno,
            f"{error.strerror}: {self.path} cannot grow any more; its first {self.frames_written} frames"
            f" ({seconds:.1f} s) are kept and play. Free space or choose another output",
        )


def _check_settings(height: int, width: int, fps: int, crf: int, preset: str) -> None:
    if height < 2 or width < 2 or height % 2 or width % 2:
        raise ValueError(
            f"height and width of a video are even (one colour per 2 x 2 pixels), got {height} x {width};"
            " sizes of the models are multiples of 16"
        )
    if fps < 1:
        raise ValueError(f"fps is at least 1 frame per second, got {fps}")
    if not 1 <= crf <= 51:
        raise ValueError(f"crf is 1 (largest file) to 51 (smallest file), got {crf}")  # 0 needs a rare decoder profile
    if preset not in PRESETS:
        raise ValueError(f"preset is one of {', '.join(PRESETS)}, got {preset!r}")


def _check_keep(keep_frames: int, overwrite: bool) -> None:
    if keep_frames < 0:
        raise ValueError(f"keep_frames is 0 (a new video) or the number of frames to go on after, got {keep_frames}")
    if keep_frames and overwrite:
        raise ValueError(f"overwrite drops the old video and keep_frames={keep_frames} goes on in it; set one of them")


def _check_target(path: Path, may_exist: bool) -> None:
    if path.suffix != ".mp4":
        raise ValueError(f"the name of a video ends in .mp4, got {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; choose another output")
    if path.exists() and not may_exist:
        raise _exists(path)
    make_folder_of(path)


def _claim(path: Path) -> None:
    """Creates the file, unless another writer was faster."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise _exists(path) from None


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists; set overwrite=True to replace it, or choose another output")
