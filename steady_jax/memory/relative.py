"""What the policies with block-relative rotation share: positions by slot, an anchor, flushes and scene cuts.

Keys are stored unrotated, and when read, a key's temporal position is its slot. So positions never grow with the
length of the video. Sources: Infinity-RoPE and Steady-Forcing (arXiv 2606.14732), sections on block-relative RoPE,
flushing and RoPE cut.
"""

import dataclasses

import jax.numpy as jnp

from steady_jax.memory import base
from steady_jax.memory.base import KVMemory, Reading, SceneChange
from steady_jax.shapes import UNROTATED, Array, Bool, Int

QUERY_POSITIONS = ("published", "aligned")
FLUSH_SOURCES = ("published", "filled")
CUT_POSITION = 45  # published for blocks of 3 frames: 45, 46, 47; for other lengths there are no published numbers


def aligned_reading(memory: KVMemory, window: int, frames: int) -> Reading:
    """Every frame, stored or in work, stands at its slot."""
    own = memory.filled + jnp.arange(frames)
    return Reading(start=memory.filled, query=own, stored=None, read=jnp.arange(window))


def reading(memory: KVMemory, window: int, frames: int, evicted: Int[Array, ""], query_position: str) -> Reading:
    """Every stored frame stands at its slot.

    Args:
        query_position: "aligned": the block's queries stand at its slots; "published": at the global index until that
            reaches the window. A flush does not reset the global index, so after one the queries stand ahead of the
            block's own keys until the window is full again.
    """
    aligned = aligned_reading(memory, window, frames)
    if query_position == "aligned":
        return aligned
    first = jnp.where((evicted == 0) & (memory.frame < window), memory.frame, window - frames)
    return dataclasses.replace(aligned, query=first + jnp.arange(frames))


def anchored(reading: Reading, memory: KVMemory) -> Reading:
    """The same, with the video's first frame stored rotated, at time 0, and read from slot 0 as it is stored."""
    is_first = memory.frame + jnp.arange(reading.query.shape[0]) == 0
    return dataclasses.replace(
        reading,
        stored=jnp.where(is_first, 0, UNROTATED),
        read=jnp.where(jnp.arange(reading.read.shape[0]) == 0, UNROTATED, reading.read),
    )


def cut_off(reading: Reading, cut: Bool[Array, ""], position: int) -> Reading:
    """The same, but where `cut` holds, the block's queries and keys stand at `position` and the ones after it.

    What is stored stays unrotated, so from the next block on these frames have ordinary positions. The anchor is never
    moved.
    """
    frames, slots = reading.query.shape[0], jnp.arange(reading.read.shape[0])
    own = (slots >= reading.start) & (reading.read != UNROTATED)
    return dataclasses.replace(
        reading,
        query=jnp.where(cut, position + jnp.arange(frames), reading.query),
        read=jnp.where(cut & own, position + slots - reading.start, reading.read),
    )


def flushed(memory: KVMemory, window: int, keep: int, source: str, when: Bool[Array, ""]) -> KVMemory:
    """Where `when` holds, purges the window: slot 0 and `keep` - 1 recent frames stay.

    Args:
        source: "published": the last slots of the buffer, which before the window was full, or after an earlier flush,
            hold no recent frames; "filled": the last filled slots, as many as there are.
    """
    recent, when = keep - 1, when & (memory.filled > 0)
    first, filled = window - recent, jnp.asarray(keep)
    if source == "filled":
        first, filled = jnp.maximum(memory.filled - recent, 1), jnp.minimum(filled, memory.filled)
    memory = base.rewrite(memory, window, when, 1, lambda slots: slots.take(first, recent))
    return dataclasses.replace(memory, filled=jnp.where(when, filled, memory.filled))


def begin_scene(flush: bool | None, by_default: bool, cut: bool, position: int, window: int) -> SceneChange:
    """A change of scene by what was asked for, or by what the policy does.

    Raises:
        ValueError: a cut to a position that slots of the window have as well.
    """
    if cut and position < window:
        raise ValueError(
            f"a cut must lie beyond all positions of the window (0..{window - 1}), got cut_position {position}; "
            f"set memory.cut_position to {window} or more"
        )
    return SceneChange(flush=jnp.asarray(by_default if flush is None else flush), cut=jnp.asarray(cut))


def check_settings(query_position: str, flush_source: str, flush_keep: int) -> None:
    """Raises ValueError for settings that no block length fits."""
    if flush_source not in FLUSH_SOURCES:
        raise ValueError(f"flush_source must be one of {FLUSH_SOURCES}, got {flush_source!r}")
    if query_position not in QUERY_POSITIONS:
        raise ValueError(f"query_position must be one of {QUERY_POSITIONS}, got {query_position!r}")
    if flush_keep < 1:
        raise ValueError(f"flush_keep must be at least 1 (the first slot stays), got {flush_keep}")


def check_flush(window: int, keep: int, frames: int) -> None:
    """Raises ValueError if the window cannot hold what a flush keeps and a block of `frames`."""
    if window < keep + frames:
        raise ValueError(
            f"the window must hold what a flush keeps and a block, got window {window} < flush_keep {keep} + {frames} "
            "frames per block; raise memory.window, lower memory.flush_keep or switch flushing off "
            "(memory.scene_flush=False, and memory.flush=False where the policy flushes periodically)"
        )
