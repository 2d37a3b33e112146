"""The rules of the memory, told once more with plain Python lists."""

from typing import Any, NamedTuple

import numpy as np

from steady_jax.memory.ema_sink import EMASink
from steady_jax.memory.infinity_rope import InfinityRope
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.shapes import UNROTATED


class Scene(NamedTuple):
    """A scene that begins, as its author writes it down."""

    flush: bool | None = None  # None: what the policy does by itself
    cut: bool = False


class Positions(NamedTuple):
    """Where a block stands, and the temporal positions of frames."""

    start: int
    query: list[int]
    stored: list[int]
    read: list[int]  # of the filled slots and the block behind them


class ListOfFrames:
    """A memory of any policy: a list with one frame per slot. What lies behind the filled slots is stale."""

    def __init__(self, policy: Any, nothing: np.ndarray) -> None:
        self.policy = policy
        self.slots = [nothing] * policy.window
        self.filled = self.frame = self.block = 0

    def make_room(self, frames: int, scene: Scene | None) -> int:
        """Flushes at most once, evicts, and returns how many frames were evicted."""
        if self.filled and (self._scene_flushes(scene) or self._period_flushes()):
            self._flush()
        evicted = max(0, self.filled + frames - self.policy.window)
        if evicted:
            self._evict(evicted)
        return evicted

    def read(self, frames: int, evicted: int, scene: Scene | None) -> Positions:
        """Positions in the block that begins now, after `make_room`."""
        policy, window = self.policy, self.policy.window
        if isinstance(policy, SelfForcing):
            absolute = list(range(self.frame, self.frame + frames))
            return Positions(self.filled, absolute, absolute, [UNROTATED] * (self.filled + frames))
        keys, stored = list(range(self.filled + frames)), [UNROTATED] * frames
        query = keys[-frames:]
        if isinstance(policy, InfinityRope | Steady) and policy.query_position == "published":
            first = self.frame if not evicted and self.frame < window else window - frames
            query = list(range(first, first + frames))
        if scene and scene.cut:
            keys[-frames:] = query = list(range(policy.cut_position, policy.cut_position + frames))
        if has_anchor(policy):
            keys[0] = UNROTATED
            if self.frame == 0:
                stored[0] = 0
        return Positions(self.filled, query, stored, keys)

    def add(self, block: list[np.ndarray]) -> None:
        """Stores a finished block."""
        self.slots[self.filled : self.filled + len(block)] = block
        self.filled += len(block)
        self.frame += len(block)
        self.block += 1

    def _scene_flushes(self, scene: Scene | None) -> bool:
        if scene is None or not isinstance(self.policy, InfinityRope | Steady):
            return False
        return self.policy.scene_flush if scene.flush is None else scene.flush

    def _period_flushes(self) -> bool:
        policy = self.policy
        return (
            isinstance(policy, Steady)
            and policy.flush
            and self.block % policy.flush_period == 0
            and self.frame >= policy.flush_warmup
        )

    def _flush(self) -> None:
        buffer = self.slots if self.policy.flush_source == "published" else self.slots[: self.filled]
        behind_the_first = buffer[1:]
        recent = behind_the_first[max(0, len(behind_the_first) - (self.policy.flush_keep - 1)) :]
        self.slots[1 : 1 + len(recent)] = recent
        self.filled = 1 + len(recent)

    def _evict(self, count: int) -> None:
        sink = self.policy.sink
        leaving, staying = self.slots[sink : sink + count], self.slots[sink + count : self.filled]
        for slot, frame in zip(averaging(self.policy), leaving, strict=False):
            self.slots[slot] = self.policy.alpha * self.slots[slot] + (1 - self.policy.alpha) * frame
        self.slots[sink : sink + len(staying)] = staying
        self.filled -= count


def has_anchor(policy: Any) -> bool:
    """Whether slot 0 holds the first frame rotated, for good."""
    return isinstance(policy, InfinityRope) or (isinstance(policy, Steady) and policy.anchor)


def averaging(policy: Any) -> range:
    """The slots that average what leaves."""
    if isinstance(policy, EMASink) or (isinstance(policy, Steady) and policy.ema):
        return range(1 if has_anchor(policy) else 0, policy.sink)
    return range(0)
