"""Steady-Forcing (arXiv 2606.14732): a dual memory. Slot 0 anchors the first frame, the other sink slots average what
leaves.

Before a block the memory may be flushed (only the anchor and the most recent frames stay), and frames that no longer
fit are evicted: the first of them are blended into the sink slots by an exponential moving average, then the window
moves up. Rotation is relative to the block: a key's position is its slot. The anchor alone is stored rotated, at time
0, and never rotated again.
"""

import dataclasses

from steady_jax.memory import base, relative
from steady_jax.memory.base import KVMemory, Reading, SceneChange
from steady_jax.shapes import Array, Bool, Int


@dataclasses.dataclass(frozen=True)
class Steady:
    """Settings, as published. Every part can be switched off."""

    window: int = 18
    sink: int = 3  # slots that the window never moves
    anchor: bool = True  # slot 0 holds the first frame for good (V-Sink)
    ema: bool = True  # the other sink slots average the evicted frames (EMA-Sink)
    alpha: float = 0.99  # weight of the old average
    flush: bool = True  # purge the window periodically
    flush_period: int = 21  # blocks
    flush_warmup: int = 21  # no periodic flush before this many latent frames
    scene_flush: bool = True  # purge the window where a scene begins, unless the scene says otherwise
    flush_keep: int = 6  # frames that a flush leaves, the anchor included
    # "published": the last slots of the buffer, stale or not; "filled": the last filled ones
    flush_source: str = "published"
    query_position: str = "published"  # "published": ahead of its own keys after a flush; "aligned": at its own keys
    cut_position: int = relative.CUT_POSITION  # at which the first block after a scene cut stands

    def __post_init__(self) -> None:
        if not int(self.anchor or self.ema) <= self.sink < self.window:
            raise ValueError(
                f"the anchor and the average live in sink slots, and sink < window must hold, got sink {self.sink}, "
                f"window {self.window}, anchor {self.anchor}, ema {self.ema}"
            )
        base.check_alpha(self.alpha)
        relative.check_settings(self.query_position, self.flush_source, self.flush_keep)
        if self.flush_period < 1 or self.flush_warmup < 0:
            raise ValueError(
                "flush_period must be at least 1 and flush_warmup at least 0, "
                f"got {self.flush_period} and {self.flush_warmup}; flush=False switches periodic flushing off"
            )

    @property
    def averaged(self) -> int:
        """How many sink slots, the last ones, average evicted frames."""
        return self.sink - int(self.anchor) if self.ema else 0

    def check(self, frames: int, blocks: int | None) -> None:
        """See base.MemoryPolicy."""
        del blocks  # any length fits
        base.check_window(self.window, self.sink, frames)
        self._check_evictions(frames, 0)
        if self.flush or self.scene_flush:
            self._check_flush(frames)

    def begin_scene(self, frames: int, flush: bool | None, cut: bool) -> SceneChange:
        """See base.MemoryPolicy."""
        if flush:
            self._check_flush(frames)
        return relative.begin_scene(flush, self.scene_flush, cut, self.cut_position, self.window)

    def make_room(self, memory: KVMemory, frames: int, change: SceneChange) -> tuple[KVMemory, Int[Array, ""]]:
        """See base.MemoryPolicy."""
        when = change.flush | self.flush_due(memory) if self.flush else change.flush
        memory = relative.flushed(memory, self.window, self.flush_keep, self.flush_source, when)
        return base.evict(memory, self.window, self.sink, frames, self.averaged, base.moving_average(self.alpha))

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""], change: SceneChange) -> Reading:
        """See base.MemoryPolicy."""
        reading = relative.reading(memory, self.window, frames, evicted, self.query_position)
        reading = relative.anchored(reading, memory) if self.anchor else reading
        return relative.cut_off(reading, change.cut, self.cut_position)

    def flush_due(self, memory: KVMemory) -> Bool[Array, ""]:
        """Whether the period asks for a flush before the next block."""
        return (memory.block > 0) & (memory.block % self.flush_period == 0) & (memory.frame >= self.flush_warmup)

    def _check_flush(self, frames: int) -> None:
        relative.check_flush(self.window, self.flush_keep, frames)
        self._check_evictions(frames, self.flush_keep)

    def _check_evictions(self, frames: int, filled: int) -> None:
        fewest = base.first_eviction(self.window, filled, frames)
        if fewest < self.averaged:
            raise ValueError(
                f"each of {self.averaged} averaging slots takes one evicted frame, but with window {self.window} "
                f"and blocks of {frames} frames an eviction can be as small as {fewest}; let memory.window hold whole "
                "blocks, lower memory.sink or set memory.ema=False"
            )
