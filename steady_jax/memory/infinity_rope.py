"""Infinity-RoPE: a sliding window behind an anchor, flushed where a scene changes.

Keys are stored unrotated and stand at their slots when read. Only the first frame is stored rotated, at time 0, and
never rotated again. Without a change of scene the frames are those of `v_sink`.
"""

import dataclasses

from steady_jax.memory import base, relative
from steady_jax.memory.base import KVMemory, Reading, SceneChange
from steady_jax.shapes import Array, Int


@dataclasses.dataclass(frozen=True)
class InfinityRope:
    """Settings, as published."""

    window: int = 6
    sink: int = 1  # oldest frames that never leave; slot 0 is the anchor
    scene_flush: bool = True  # purge the window where a scene begins, unless the scene says otherwise
    flush_keep: int = 3  # frames that a flush leaves, the anchor included
    # "published": the last slots of the buffer, stale or not; "filled": the last filled ones
    flush_source: str = "published"
    query_position: str = "published"  # "published": ahead of its own keys after a flush; "aligned": at its own keys
    cut_position: int = relative.CUT_POSITION  # at which the first block after a scene cut stands

    def __post_init__(self) -> None:
        base.check_sink(self.window, self.sink, fewest=1)
        relative.check_settings(self.query_position, self.flush_source, self.flush_keep)

    def check(self, frames: int, blocks: int | None) -> None:
        """See base.MemoryPolicy."""
        del blocks  # any length fits
        base.check_window(self.window, self.sink, frames)
        if self.scene_flush:
            relative.check_flush(self.window, self.flush_keep, frames)

    def begin_scene(self, frames: int, flush: bool | None, cut: bool) -> SceneChange:
        """See base.MemoryPolicy."""
        if flush:
            relative.check_flush(self.window, self.flush_keep, frames)
        return relative.begin_scene(flush, self.scene_flush, cut, self.cut_position, self.window)

    def make_room(self, memory: KVMemory, frames: int, change: SceneChange) -> tuple[KVMemory, Int[Array, ""]]:
        """See base.MemoryPolicy."""
        memory = relative.flushed(memory, self.window, self.flush_keep, self.flush_source, change.flush)
        return base.evict(memory, self.window, self.sink, frames)

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""], change: SceneChange) -> Reading:
        """See base.MemoryPolicy."""
        reading = relative.reading(memory, self.window, frames, evicted, self.query_position)
        return relative.cut_off(relative.anchored(reading, memory), change.cut, self.cut_position)
