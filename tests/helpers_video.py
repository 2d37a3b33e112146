"""What the tests around a rollout share: frames that differ visibly, and a reader that takes what a player takes."""

from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH = 48, 64


def moving(count, first=0):
    """Smooth waves of three colours that move, frames first, first + 1, ...: uint8 [count 48 64 3]."""
    f, y, x = np.ogrid[first : first + count, :48, :64]
    waves = (np.sin((x + 2 * f) / 10), np.sin((y - f) / 8), np.sin((x + y + 3 * f) / 12))
    return np.stack([128 + 100 * np.broadcast_to(wave, (count, 48, 64)) for wave in waves], -1).astype(np.uint8)


def decoded(path: Path, torn: bool = False) -> list[av.VideoFrame]:
    """All frames of a video file; with `torn`, those before the first that cannot be read."""
    frames = []
    with av.open(str(path)) as container:
        try:
            frames.extend(container.decode(video=0))
        except av.FFmpegError:
            if not torn:
                raise
    return frames


def assert_shows(frames: list[av.VideoFrame], written: np.ndarray) -> None:
    """Every frame looks like the one written at its place, and less like the ones around it."""
    for index, frame in enumerate(frames):
        around = range(max(0, index - 3), min(len(written), index + 4))
        shown = frame.to_ndarray(format="rgb24").astype(float)
        errors = {other: np.abs(shown - written[other]).mean() for other in around}
        assert errors[index] < 5, (index, errors)
        assert min(errors, key=errors.get) == index, (index, errors)
