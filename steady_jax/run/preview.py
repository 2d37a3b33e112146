"""A short moving picture of a whole video, made while its frames arrive, in bounded memory."""

from pathlib import Path

import numpy as np
from PIL import Image

from steady_jax.run.files import replacing
from steady_jax.run.frames import check_frames
from steady_jax.run.remux import first_frames

LONGEST_SHOWN = 125  # milliseconds of one picture: a long video plays faster than it is, not as a slide show
WEBP = {"format": "WEBP", "quality": 80, "method": 4, "loop": 0}


class Preview:
    """Keeps evenly spaced small frames, from the first on; when there are too many, every second one goes.

    Args:
        path: the preview, NAME.webp.
        fps: frames per second of the video.
        limit: the most frames to keep; between half of it and all of it are shown.
        longest_side: pixels; larger frames are made smaller, smaller ones stay.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(self, path: str | Path, *, fps: int = 16, limit: int = 48, longest_side: int = 320) -> None:
        if fps < 1 or limit < 2 or longest_side < 1:
            raise ValueError(
                "a preview needs an fps of at least 1, a limit of at least 2 frames and a longest_side of at least"
                f" 1 pixel, got {fps}, {limit} and {longest_side}"
            )
        self.path = Path(path)
        self._fps, self._limit, self._longest_side = fps, limit, longest_side
        self._kept: list[Image.Image] = []
        self._stride, self._seen = 1, 0

    def add(self, frames: np.ndarray) -> None:
        """Takes the next frames of the video, pixels [f h w 3] uint8.

        Raises:
            TypeError: other values than uint8.
            ValueError: another shape.
        """
        check_frames(frames)
        for pixels in frames:
            if self._next_is_due():
                self._keep(pixels)

    def add_video(self, path: str | Path, frames: int) -> None:
        """Takes the first `frames` frames of a video file, as if they came now; what follows them may be torn.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds fewer whole frames, or less than one is asked for.
        """
        with first_frames(Path(path), frames) as video:
            for frame in video.decode(video=0):
                if self._next_is_due():
                    self._keep(frame.to_ndarray(format="rgb24"))

    def save(self) -> Path | None:
        """Writes what came so far as an endless animated WebP; may be called again later.

        Returns:
            The file, or None when no frame has come yet.
        """
        if not self._kept:
            return None
        duration = min(round(1000 * self._stride / self._fps), LONGEST_SHOWN)
        first, *others = self._kept
        with replacing(self.path) as partial:
            first.save(partial, save_all=True, append_images=others, duration=duration, **WEBP)
        return self.path

    def _next_is_due(self) -> bool:
        """Counts a frame of the video; True if the preview has a place for it."""
        self._seen += 1
        return (self._seen - 1) % self._stride == 0

    def _keep(self, pixels: np.ndarray) -> None:
        self._kept.append(small(pixels, self._longest_side))
        if len(self._kept) > self._limit:
            self._kept = self._kept[::2]
            self._stride *= 2


def small(pixels: np.ndarray, longest_side: int) -> Image.Image:
    """Returns one frame [h w 3] uint8 as a picture whose longer side has at most `longest_side` pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return picture
