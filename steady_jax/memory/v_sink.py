"""Infinite-Forcing: a sliding window behind a V-Sink, the first frames, which never leave.

Keys are stored unrotated and stand at their slots when read.
"""

import dataclasses

from steady_jax.memory import base, relative
from steady_jax.memory.base import KVMemory, Reading, SceneChange
from steady_jax.shapes import Array, Int


@dataclasses.dataclass(frozen=True)
class VSink:
    """Settings, as published."""

    window: int = 6
    sink: int = 1  # oldest frames that never leave

    def __post_init__(self) -> None:
        base.check_sink(self.window, self.sink)

    def check(self, frames: int, blocks: int | None) -> None:
        """See base.MemoryPolicy."""
        del blocks  # any length fits
        base.check_window(self.window, self.sink, frames)

    def begin_scene(self, frames: int, flush: bool | None, cut: bool) -> SceneChange:
        """See base.MemoryPolicy."""
        del frames
        return base.change_prompt_only("v_sink", flush, cut)

    def make_room(self, memory: KVMemory, frames: int, change: SceneChange) -> tuple[KVMemory, Int[Array, ""]]:
        """See base.MemoryPolicy."""
        del change
        return base.evict(memory, self.window, self.sink, frames)

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""], change: SceneChange) -> Reading:
        """See base.MemoryPolicy."""
        del evicted, change
        return relative.aligned_reading(memory, self.window, frames)
