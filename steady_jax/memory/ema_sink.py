"""Reward-Forcing: an EMA-Sink. The first slots average what leaves the window, each with one frame of every block.

Keys are stored unrotated and stand at their slots when read. Every eviction must hold exactly as many frames as there
are sink slots; other counts, which the published system answers by overwriting the average, are refused.
"""

import dataclasses

from steady_jax.memory import base, relative
from steady_jax.memory.base import KVMemory, Reading, SceneChange
from steady_jax.shapes import Array, Int


@dataclasses.dataclass(frozen=True)
class EMASink:
    """Settings, as published."""

    window: int = 9
    sink: int = 3  # slots that average the evicted frames
    alpha: float = 0.999  # weight of the old average

    def __post_init__(self) -> None:
        base.check_sink(self.window, self.sink)
        base.check_alpha(self.alpha)

    def check(self, frames: int, blocks: int | None) -> None:
        """See base.MemoryPolicy."""
        del blocks  # any length fits
        base.check_window(self.window, self.sink, frames)
        first = base.first_eviction(self.window, 0, frames)
        if {first, frames} != {self.sink}:
            raise ValueError(
                f"every sink slot of ema_sink takes exactly one evicted frame, but with window {self.window} and "
                f"blocks of {frames} frames the first eviction holds {first} and the later ones {frames}, got sink "
                f"{self.sink}; let memory.sink be block_frames and memory.window a multiple of it"
            )

    def begin_scene(self, frames: int, flush: bool | None, cut: bool) -> SceneChange:
        """See base.MemoryPolicy."""
        del frames
        return base.change_prompt_only("ema_sink", flush, cut)

    def make_room(self, memory: KVMemory, frames: int, change: SceneChange) -> tuple[KVMemory, Int[Array, ""]]:
        """See base.MemoryPolicy."""
        del change
        return base.evict(memory, self.window, self.sink, frames, self.sink, base.moving_average(self.alpha))

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""], change: SceneChange) -> Reading:
        """See base.MemoryPolicy."""
        del evicted, change
        return relative.aligned_reading(memory, self.window, frames)
