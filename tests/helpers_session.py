"""A session whose frames a formula gives, so that what happens around a session can be tested within milliseconds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from helpers_video import HEIGHT, WIDTH, moving

from steady_jax import saved_state
from steady_jax.run.recording import LAST_FRAMES, Recorded, Recording, Video, recorded

BLOCKS = (9, 12, 12, 12, 7)  # frames of each block
FRAMES = sum(BLOCKS)
APART = 37  # video v shows the waves from frame v * APART on


class Waves:
    """Videos in step, made of `blocks`; all that it has to remember is the next block.

    Args:
        before: called with the number of each block before it is made.
    """

    def __init__(
        self,
        blocks: Sequence[int] = BLOCKS,
        videos: int = 1,
        block: int = 0,
        before: Callable[[int], None] = lambda block: None,
    ) -> None:
        self.blocks, self.videos, self.block, self._before = tuple(blocks), videos, block, before

    @property
    def finished(self) -> bool:
        return self.block == len(self.blocks)

    def __iter__(self) -> "Waves":
        return self

    def __next__(self) -> np.ndarray:
        if self.finished:
            raise StopIteration
        self._before(self.block)
        first, count = sum(self.blocks[: self.block]), self.blocks[self.block]
        self.block += 1
        return np.stack([moving(count, first=first + APART * video) for video in range(self.videos)])

    def save(self, folder: Path, *, compact: bool, record: Mapping[str, Any], extra: Mapping[str, np.ndarray]) -> Path:
        described = {"blocks": self.blocks, "videos": self.videos, "compact": compact, "caller": record}
        arrays = {"block": np.array(self.block), **extra}
        return saved_state.save(folder, described, arrays.items())


def restored(folder: Path, before: Callable[[int], None] = lambda block: None) -> tuple[Waves, list[Recorded]]:
    """The session of the newest state of a folder, and what the state says of its videos."""
    state = saved_state.latest(folder)
    arrays = {name: np.asarray(array) for name, array in state.read("", jax.devices()[0]).items()}
    session = Waves(state.record["blocks"], state.record["videos"], int(arrays["block"]), before)
    return session, recorded(state.record["caller"], arrays[LAST_FRAMES])


def videos_of(folder: Path, count: int = 1) -> list[Video]:
    return [Video(folder / f"waves-{index}.mp4", HEIGHT, WIDTH, fps=16) for index in range(count)]


def recordings_of(
    folder: Path, count: int = 1, after: Sequence[Recorded] | None = None, **options: Any
) -> list[Recording]:
    """Recordings of `count` videos in a folder."""
    return [
        Recording(video, {"prompt": f"waves {index}"}, after=after[index] if after else None, **options)
        for index, video in enumerate(videos_of(folder, count))
    ]
