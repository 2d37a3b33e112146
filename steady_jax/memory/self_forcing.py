"""Self-Forcing (arXiv 2506.08009): a plain window. Keys are rotated once, at the absolute frame index, when they are
stored.
"""

import dataclasses

import jax.numpy as jnp

from steady_jax.memory import base
from steady_jax.memory.base import KVMemory, Reading, SceneChange
from steady_jax.shapes import Array, Int


@dataclasses.dataclass(frozen=True)
class SelfForcing:
    """Settings. As published: a window of 21 that never rolls, or `window=9, sink=1, rolling=True`."""

    window: int = 21
    sink: int = 0  # oldest frames that never leave
    rolling: bool = False  # evict when full; otherwise the video ends with the window

    def __post_init__(self) -> None:
        base.check_sink(self.window, self.sink)

    def check(self, frames: int, blocks: int | None) -> None:
        """See base.MemoryPolicy."""
        base.check_window(self.window, self.sink, frames)
        if not self.rolling and (blocks is None or blocks * frames > self.window):
            asked = "a video without end was" if blocks is None else f"{blocks * frames} frames were"
            raise ValueError(
                f"self_forcing without a rolling window ends after {self.window // frames * frames} latent frames, but "
                f"{asked} asked for; set memory.rolling=True, shorten the video, or choose another policy"
            )

    def begin_scene(self, frames: int, flush: bool | None, cut: bool) -> SceneChange:
        """See base.MemoryPolicy."""
        del frames
        return base.change_prompt_only("self_forcing", flush, cut)

    def make_room(self, memory: KVMemory, frames: int, change: SceneChange) -> tuple[KVMemory, Int[Array, ""]]:
        """See base.MemoryPolicy."""
        del change
        return base.evict(memory, self.window, self.sink, frames)

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""], change: SceneChange) -> Reading:
        """See base.MemoryPolicy."""
        del evicted, change
        absolute = memory.frame + jnp.arange(frames)
        return Reading(start=memory.filled, query=absolute, stored=absolute, read=None)
