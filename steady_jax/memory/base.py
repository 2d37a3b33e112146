"""The interface of a memory policy, and the state they all share.

A policy decides, once per block: what leaves before the block (`make_room`), where the block stands and how everything
is rotated (`read`). After the refresh call wrote the block's keys and values, `commit` counts them. Where a new scene
begins, `begin_scene` says beforehand what that does to the memory. To add a policy, write a frozen dataclass of
settings with these functions in a file of its own, and name it in `steady_jax.config.POLICIES`.
"""

import dataclasses
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp

from steady_jax.shapes import Array, Bool, Float, Index, Int


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVMemory:
    """Keys and values of past frames, all layers stacked. Filled slots are a prefix; what lies behind them is stale."""

    k: Float[Array, "l b s d"]  # after the key norm; rotated only where the policy says so; heads side by side in d
    v: Float[Array, "l b s d"]
    filled: Int[Array, ""]  # slots (frames) that count
    frame: Int[Array, ""]  # global index of the next frame; a flush does not reset it
    block: Int[Array, ""]  # index of the next block


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reading:
    """Where a block stands, and the temporal position of each frame for rotation; UNROTATED (-1) means not at all."""

    start: Int[Array, ""]  # slot of the block's first frame
    query: Int[Array, "f"]  # positions of the block's queries
    stored: Int[Array, "f"] | None  # positions at which the block's keys are stored; None: all unrotated
    read: Int[Array, "w"] | None  # positions by which stored keys are rotated when read, per slot; None: all unrotated


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SceneChange:
    """What the beginning of a scene does to the memory, before and during one block. All False: no scene begins."""

    flush: Bool[Array, ""]  # only what the policy keeps of the past stays
    cut: Bool[Array, ""]  # the block stands far behind its past in time, for its own calls alone


@typing.runtime_checkable
class MemoryPolicy(typing.Protocol):
    """Settings of a policy (a frozen, hashable dataclass) and its pure functions; `frames` is the length of a block."""

    window: int  # slots of the buffer, sinks and the block in work included

    def check(self, frames: int, blocks: int | None) -> None:
        """Raises ValueError if blocks of `frames`, `blocks` of them (None: without end), do not fit these settings."""

    def begin_scene(self, frames: int, flush: bool | None, cut: bool) -> SceneChange:
        """What the first block of a new scene does to the memory; a video's first scene needs none.

        Args:
            frames: length of a block.
            flush: whether to purge the memory; None: what the policy does by itself.
            cut: whether the scene begins with a cut.
        Raises:
            ValueError: the policy, or its window, cannot do this.
        """

    def make_room(self, memory: KVMemory, frames: int, change: SceneChange) -> tuple[KVMemory, Int[Array, ""]]:
        """Flushes and evicts so that the next block fits. Returns the memory and how many frames were evicted."""

    def read(self, memory: KVMemory, frames: int, evicted: Int[Array, ""], change: SceneChange) -> Reading:
        """Says where the block stands and how keys and queries are rotated; the same for all calls of the block."""


PURGING = ("infinity_rope", "steady")  # the policies that can flush and cut

Frames = Float[Array, "1 b t d"]  # the tokens of some frames in one layer
Blend = Callable[[Frames, Frames], Frames]


def empty(k: Float[Array, "l b s d"], v: Float[Array, "l b s d"]) -> KVMemory:
    """A memory at the start of a rollout, over buffers of zeros."""
    zero = jnp.zeros((), jnp.int32)
    return KVMemory(k, v, filled=zero, frame=zero, block=zero)


def same_scene() -> SceneChange:
    """No scene begins."""
    return SceneChange(flush=jnp.zeros((), bool), cut=jnp.zeros((), bool))


def change_prompt_only(name: str, flush: bool | None, cut: bool) -> SceneChange:
    """`MemoryPolicy.begin_scene` of the policy `name`, where a new scene changes the prompt and nothing else."""
    asked = [word for word, wanted in (("flush", flush), ("cut", cut)) if wanted]
    if asked:
        raise ValueError(
            f"the memory policy {name} has no {' and no '.join(asked)} at a change of scene; leave it out, "
            f"or choose a policy that has: {' or '.join(PURGING)}"
        )
    return same_scene()


def commit(memory: KVMemory, frames: int) -> KVMemory:
    """Counts a block whose keys and values the refresh call has written behind the filled slots."""
    return dataclasses.replace(
        memory, filled=memory.filled + frames, frame=memory.frame + frames, block=memory.block + 1
    )


@dataclasses.dataclass(frozen=True)
class Slots:
    """One layer's slots, read out of a buffer of all layers."""

    buffer: Float[Array, "l b s d"]
    layer: Index
    tokens_per_frame: int

    def take(self, first: Index, count: int) -> Frames:
        """The tokens of `count` frames from slot `first`."""
        _, batch, _, width = self.buffer.shape
        size = (1, batch, count * self.tokens_per_frame, width)
        return jax.lax.dynamic_slice(self.buffer, (self.layer, 0, first * self.tokens_per_frame, 0), size)


def rewrite(
    memory: KVMemory, window: int, when: Bool[Array, ""], at: int, content: Callable[[Slots], Frames]
) -> KVMemory:
    """Where `when` holds, writes `content(slots)` of keys and of values from slot `at` on, one layer after the other.

    Temporaries stay at one layer's size: all reading is done before the one write, which then happens in place.
    """
    tokens_per_frame = memory.k.shape[2] // window

    def one_layer(layer: Index, buffers: tuple[Array, Array]) -> tuple[Array, Array]:
        def written(buffer: Float[Array, "l b s d"]) -> Float[Array, "l b s d"]:
            frames = jax.lax.optimization_barrier(content(Slots(buffer, layer, tokens_per_frame)))
            return jax.lax.dynamic_update_slice(buffer, frames, (layer, 0, at * tokens_per_frame, 0))

        k, v = buffers
        return written(k), written(v)

    layers = jnp.where(when, memory.k.shape[0], 0)  # a loop of no rounds leaves the buffers alone; a branch may copy
    k, v = jax.lax.fori_loop(0, layers, one_layer, (memory.k, memory.v))
    return dataclasses.replace(memory, k=k, v=v)


def evict(
    memory: KVMemory, window: int, sink: int, frames: int, averaged: int = 0, blend: Blend = lambda average, _: average
) -> tuple[KVMemory, Int[Array, ""]]:
    """Lets the oldest frames behind the sink leave until `frames` more fit; what follows them moves up.

    Args:
        averaged: how many of the last sink slots take up what leaves: each blends with one frame, oldest with first.
        blend: (slots, frames that leave) -> slots.
    Returns: the memory, and how many frames left (0: nothing changed).
    """
    evicted = jnp.maximum(memory.filled + frames - window, 0)
    staying = window - sink - frames  # behind the sink, wherever anything leaves

    def after(slots: Slots) -> Frames:
        average = blend(slots.take(sink - averaged, averaged), slots.take(sink, averaged))
        return jnp.concatenate([average, slots.take(sink + evicted, staying)], axis=2)

    memory = rewrite(memory, window, evicted > 0, sink - averaged, after)
    return dataclasses.replace(memory, filled=memory.filled - evicted), evicted


def moving_average(alpha: float) -> Blend:
    """The blend alpha * old average + (1 - alpha) * frame that leaves."""

    def blend(average: Frames, evicted: Frames) -> Frames:
        # float32 for the blend alone: the memory rounds it again. So in bfloat16, as published, an average moves only
        # while (1 - alpha) * |difference| is more than half its rounding step, which is |average| / 128 or less
        moved = alpha * average.astype(jnp.float32) + (1 - alpha) * evicted.astype(jnp.float32)
        return moved.astype(average.dtype)

    return blend


def first_eviction(window: int, filled: int, frames: int) -> int:
    """How many frames leave first when blocks of `frames` come to a window with `filled` slots in use."""
    return frames - (window - filled) % frames


def check_window(window: int, sink: int, frames: int) -> None:
    """Raises ValueError if the window cannot hold the sink and a block of `frames`."""
    if window < sink + frames:
        raise ValueError(
            f"the window must hold the sink and a block, got window {window} < sink {sink} + block {frames} frames; "
            "raise memory.window or lower memory.sink or block_frames"
        )


def check_sink(window: int, sink: int, fewest: int = 0) -> None:
    """Raises ValueError if the sink has fewer slots than `fewest`, or leaves no slot of the window free."""
    if not fewest <= sink < window:
        raise ValueError(
            f"{fewest} <= sink < window must hold, got sink {sink} and window {window}; "
            "change memory.sink or memory.window"
        )


def check_alpha(alpha: float) -> None:
    """Raises ValueError if alpha, the weight of an old average, is no share."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0..1, got {alpha}")
