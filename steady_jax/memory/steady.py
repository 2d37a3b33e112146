"""Steady-Forcing (arXiv 2606.14732): a dual memory. Slot 0 anchors the first frame, the other sink slots average what
leaves.

Before a block the memory may be flushed (only the anchor and the most recent frames stay), and frames that no longer
fit are evicted: the first of them are blended into the sink slots by an exponential moving average, then the window
moves up. Rotation is relative to the block: a key's position is its slot. The anchor alone is stored rotated, at time
0, and never rotated again.
"""

import dataclasses

import jax.numpy as jnp

from steady_jax.memory import base
from steady_jax.memory.base import Frames, KVMemory, Reading
from steady_jax.shapes import UNROTATED, Array, Bool, Int

QUERY_POSITIONS = ("published", "aligned")
FLUSH_SOURCES = ("published", "filled")


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
    flush_warmup: int = 21  # no flush before this many latent frames
    flush_keep: int = 6  # frames that a flush leaves, the anchor included
    # "published": the last slots of the buffer, stale or not; "filled": the last filled ones
    flush_source: str = "published"
    query_position: str = "published"  # "published": ahead of its own keys after a flush; "aligned": at its own keys

    def __post_init__(self) -> None:
        if not int(self.anchor or self.ema) <= self.sink < self.window:
            raise ValueError(
                f"the anchor and the average live in sink slots, and sink < window must hold, got sink {self.sink}, "
                f"window {self.window}, anchor {self.anchor}, ema {self.ema}"
            )
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in 0..1, got {self.alpha}")
        if self.flush_period < 1 or self.flush_warmup < 0 or self.flush_keep < 1:
            raise ValueError(
                "flush_period and flush_keep must be at least 1 and flush_warmup at least 0, "
                f"got {self.flush_period}, {self.flush_keep} and {self.flush_warmup}; flush=False switches flushing off"
            )
        if self.flush_source not in FLUSH_SOURCES:
            raise ValueError(f"flush_source must be one of {FLUSH_SOURCES}, got {self.flush_source!r}")
        if self.query_position not in QUERY_POSITIONS:
            raise ValueError(f"query_position must be one of {QUERY_POSITIONS}, got {self.query_position!r}")

    @property
    def averaged(self) -> int:
        """How many sink slots, the last ones, average evicted frames."""
        return self.sink - int(self.anchor) if self.ema else 0

    def check(self, frames: int, blocks: int | None) -> None:
        """See base.MemoryPolicy."""
        del blocks  # any length fits
        base.check_window(self.window, self.sink, frames)
        if self.flush and self.window < self.flush_keep + frames:
            raise ValueError(
                f"the window must hold what a flush keeps and a block, got window {self.window} < flush_keep "
                f"{self.flush_keep} + {frames} frames per block; raise memory.window, lower memory.flush_keep or set "
                "memory.flush=False"
            )
        starts = (0, self.flush_keep) if self.flush else (0,)
        fewest = min(frames - (self.window - start) % frames for start in starts)
        if fewest < self.averaged:
            raise ValueError(
                f"each of {self.averaged} averaging slots takes one evicted frame, but with window {self.window} "
                f"and blocks of {frames} frames an eviction can be as small as {fewest}; let memory.window hold whole "
                "blocks, lower memory.sink or set memory.ema=False"
            )

    def make_room(self, memory: KVMemory, frames: int) -> tuple[KVMemory, Int[Array, ""]]:
        """See base.MemoryPolicy."""
        if self.flush:
            memory = self._flushed(memory, when=self.flush_due(memory))
        return base.evict(memory, self.window, self.sink, frames, self.averaged, self._blend)

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""]) -> Reading:
        """See base.MemoryPolicy."""
        slots, last = jnp.arange(self.window), self.window - frames
        query = memory.filled
        if self.query_position == "published":
            query = jnp.where((evicted == 0) & (memory.frame < self.window), memory.frame, last)
        if not self.anchor:
            return Reading(start=memory.filled, query=query + jnp.arange(frames), stored=None, read=slots)
        is_anchor = memory.frame + jnp.arange(frames) == 0
        return Reading(
            start=memory.filled,
            query=query + jnp.arange(frames),
            stored=jnp.where(is_anchor, 0, UNROTATED),
            read=jnp.where(slots == 0, UNROTATED, slots),
        )

    def flush_due(self, memory: KVMemory) -> Bool[Array, ""]:
        """Whether the period asks for a flush before the next block."""
        return (memory.block > 0) & (memory.block % self.flush_period == 0) & (memory.frame >= self.flush_warmup)

    def _flushed(self, memory: KVMemory, when: Bool[Array, ""]) -> KVMemory:
        recent = self.flush_keep - 1
        first, filled = self.window - recent, jnp.asarray(self.flush_keep)
        if self.flush_source == "filled":
            first, filled = jnp.maximum(memory.filled - recent, 1), jnp.minimum(filled, memory.filled)
        memory = base.rewrite(memory, self.window, when, 1, lambda slots: slots.take(first, recent))
        return dataclasses.replace(memory, filled=jnp.where(when, filled, memory.filled))

    def _blend(self, average: Frames, evicted: Frames) -> Frames:
        # float32 for the blend alone: the memory rounds it again. So in bfloat16, as published, an average moves only
        # while (1 - alpha) * |difference| is more than half its rounding step, which is |average| / 128 or less
        blend = self.alpha * average.astype(jnp.float32) + (1 - self.alpha) * evicted.astype(jnp.float32)
        return blend.astype(average.dtype)
