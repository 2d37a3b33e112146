"""A video in the making that someone holds: made block by block, steered between blocks, saved and restored.

session = pipeline.session("Waves roll onto a black beach.", seed=3)
for frames in session:                                    # uint8 [batch, f, h, w, 3]
    if someone_asks:
        session.prompt("The storm comes closer.", cut=True)
session.save("states/waves")
session = pipeline.restore("states/waves")                # goes on with the same frames, bit for bit
"""

import dataclasses
import itertools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from steady_jax import parameters, saved_state
from steady_jax.engine import Engine, HostLatents, Pixels, to_host
from steady_jax.memory.base import KVMemory, SceneChange, same_scene
from steady_jax.models.wan_vae import Cache
from steady_jax.saved_state import SavedState
from steady_jax.shapes import Array, Float, Latents, UInt8
from steady_jax.start import Start

LIVE, LATENTS, SCENES, WAITING, EXTRA = "live/", "latents", "scenes/", "waiting", "extra/"

Frames = UInt8[np.ndarray, "b _ height width rgb"]
Embeddings = Float[Array, "1 t c"] | Float[np.ndarray, "1 t c"]
Encode = Callable[[str], Embeddings]


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Live:
    """All that a device holds of a video between two blocks."""

    memory: KVMemory
    cache: Cache | None  # of the VAE; None before the first block


@dataclasses.dataclass(frozen=True)
class EncodedScene:
    """A scene of every video of the batch, ready to be made."""

    prompts: tuple[str, ...]
    embeddings: Float[np.ndarray, "b t c"]
    flush: bool | None = None  # whether its beginning purges the memory; None: as the policy does
    cut: bool = False  # whether it begins with a cut


class Session:
    """Iterates over the frames of its videos, uint8 [batch, f, height, width, 3], one block after another.

    While the caller has one block, the device makes the next (`lookahead`). So a new prompt takes effect one block
    later; without lookahead it does so at once, and the device waits meanwhile. A session is used from one thread.
    """

    def __init__(
        self,
        engine: Engine,
        scenes: Mapping[int, EncodedScene],
        seeds: Sequence[int],
        *,
        encode: Encode,
        frames: int | None = None,
        start: Start | None = None,
        lookahead: bool = True,
        keep_latents: bool = False,
    ) -> None:
        """Queues no work.

        Args:
            scenes: by the block they begin with, counted from the first block that is made; there is one at 0.
            seeds: one per video of the batch.
            encode: text embeddings of one prompt.
            frames: pixel frames that come out in all, those of `start` included; None: no end.
            start: what the videos go on from.
            keep_latents: keeps all latents on the host, which `save(compact=True)` needs (0.4 MB per latent frame at
                480x832).
        """
        self.seeds = tuple(seeds)
        self.frames = 0  # pixel frames that came out
        self.paused = False
        self.total_frames = frames
        self._engine, self._encode = engine, encode
        self._start, self._lookahead = start, lookahead
        self._scenes = scenes if start is None else _after(start, scenes)
        self._scene = self._scenes[0]
        self._block = self._made = 0  # blocks and pixel frames made, or in work
        self.live: Live | None = None  # what the device holds; None before the first block
        self._waiting: list[list[Pixels] | Frames] = []  # blocks in work, or made and not yet handed out
        self._torn = False  # a block was interrupted while it was queued
        self._given: Iterator[Float[np.ndarray, "1 h w c"]] | None = None  # latent frames of `start` from here on
        self._latents: list[HostLatents | Latents] | None = [] if keep_latents else None

    @property
    def block(self) -> int:
        """The next block that no work has begun on: the one that a new prompt begins with."""
        return self._block

    @property
    def finished(self) -> bool:
        """Whether all frames came out."""
        return self.total_frames is not None and self.frames >= self.total_frames

    def prompt(self, text: str | Sequence[str], *, flush: bool | None = None, cut: bool = False) -> int:
        """Begins a new scene as soon as possible; scenes that come later stay where they are.

        Args:
            text: for all videos of the batch, or one for each.
            flush: whether to purge the memory; None: as the policy does.
            cut: whether to cut, for a place or a time that has little to do with what was seen.
        Returns: the block that the scene begins with.
        Raises:
            ValueError: an empty prompt, not one for each video, or a policy that cannot flush or cut. The video goes on
                as it was.
        """
        texts = (text,) * self._engine.batch if isinstance(text, str) else tuple(text)
        if len(texts) != self._engine.batch:
            raise ValueError(f"a batch of {self._engine.batch} videos takes one prompt or as many, got {len(texts)}")
        self._engine.settings.policy.begin_scene(self._engine.settings.frames, flush, cut)
        embeddings = np.concatenate([np.asarray(self._encode(one)) for one in texts])
        block = max(self._block, self._start.blocks if self._start else 0)  # given frames stay under one prompt
        self._scenes[block] = EncodedScene(texts, embeddings, flush, cut)
        return block

    def pause(self) -> None:
        """Ends the iteration before its next block; after `play`, another loop goes on."""
        self.paused = True

    def play(self) -> None:
        """Lets a paused session go on."""
        self.paused = False

    def __iter__(self) -> "Session":
        return self

    def __next__(self) -> Frames:
        if self.paused or self.finished:
            raise StopIteration
        while self._more and len(self._waiting) < 1 + self._lookahead:
            self._waiting.append(self._next_block())
        frames = _on_host(self._waiting[0])  # an interrupt while it waits loses nothing
        if self.total_frames is not None:
            frames = frames[:, : self.total_frames - self.frames]
        del self._waiting[0]
        self.frames += frames.shape[1]
        return frames

    def save(
        self,
        folder: str | Path,
        *,
        compact: bool = False,
        record: Mapping[str, Any] | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> Path:
        """Saves everything between two blocks; the one before it is removed when the new one is whole.

        Args:
            compact: only latents, from which `restore` builds the memory by one call per block: small, but a restart
                takes longer the longer the video is. Needs `keep_latents`.
            record, extra: what the caller wants back from `restore`: JSON and arrays.
        Raises:
            ValueError: compact without `keep_latents`, or nothing was made yet.
            OSError: it cannot be written; the state before it is still there.
        """
        if self.live is None:
            raise ValueError("there is nothing to save before the first block is made")
        self._check_whole()
        if compact and self._latents is None:
            raise ValueError("a compact state needs all latents; open the session with keep_latents=True")
        described = {
            "identity": self._engine.identity,
            "seeds": list(self.seeds),
            "block": self._block,
            "frames": self.frames,
            "total_frames": self.total_frames,
            "start": {"blocks": self._start.blocks, "digest": self._start.digest} if self._start else None,
            "scenes": [
                {"block": block, "prompts": list(scene.prompts), "flush": scene.flush, "cut": scene.cut}
                for block, scene in self._remembered().items()
            ],
            "compact": compact,
            "caller": dict(record or {}),
        }
        live = 0 if compact else sum(leaf.nbytes for leaf in jax.tree.leaves(self.live))
        return saved_state.save(folder, described, self._arrays(compact, extra or {}), at_least=live)

    @classmethod
    def restore(
        cls,
        engine: Engine,
        state: SavedState,
        *,
        encode: Encode,
        start: Start | None = None,
        lookahead: bool = True,
        keep_latents: bool = False,
    ) -> "Session":
        """A session that goes on where `state` was saved.

        Raises:
            ValueError: lists what differs between the session that was saved and this one.
        """
        record = state.record
        check_identity(state, engine.identity)
        _check_start(state, start)
        embeddings = {int(block): array for block, array in state.read_to_host(SCENES).items()}
        scenes = {
            scene["block"]: EncodedScene(
                tuple(scene["prompts"]), embeddings[scene["block"]], scene["flush"], scene["cut"]
            )
            for scene in record["scenes"]
        }
        session = cls(
            engine,
            {0: scenes[min(scenes)]},
            record["seeds"],
            encode=encode,
            frames=record["total_frames"],
            start=start,
            lookahead=lookahead,
            keep_latents=keep_latents,
        )
        session._go_on(state, scenes)
        return session

    def _go_on(self, state: SavedState, scenes: Mapping[int, EncodedScene]) -> None:
        """Takes over what was saved; `scenes` by their blocks."""
        record, engine, self._scenes = state.record, self._engine, dict(scenes)
        self._block, self.frames = record["block"], record["frames"]
        self._waiting = list(state.read_to_host(WAITING).values())
        self._made = self.frames + sum(frames.shape[1] for frames in self._waiting)
        begun = [block for block in self._scenes if block < self._block]
        self._scene = self._scenes[max(begun)]
        stored = list(state.read_to_host(LATENTS).values())
        if self._latents is not None:
            if not stored:
                raise ValueError(f"the state {state.path} holds no latents; go on without keep_latents")
            self._latents = np.split(stored[0], self._block, axis=1)
        if record["compact"]:
            self.live = self._rebuilt(np.split(stored[0], self._block, axis=1))
        else:
            self.live = parameters.filled(Live(*engine.abstract_state()), state.read(LIVE, engine.device))
        self._prompt = engine.encode_prompt(self._scene.embeddings)

    def _rebuilt(self, blocks: Sequence[HostLatents]) -> Live:
        """What the device held after `blocks`: one refresh call for each, and the last ones through the VAE."""
        engine, memory = self._engine, self._engine.empty_memory()
        for index, latents in enumerate(blocks):
            if index in self._scenes:
                prompt = engine.encode_prompt(self._scenes[index].embeddings)
            memory = engine.store_block(memory, prompt, latents, self._change(index))
        needed = -(-(engine.model.vae.decoder_reach + 1) // engine.settings.frames)
        cache = None
        for latents in blocks[-needed:]:
            _, cache = engine.decode(jax.device_put(latents, engine.device), cache)
        return Live(memory, cache)

    @property
    def _more(self) -> bool:
        return self.total_frames is None or self._made < self.total_frames

    def _change(self, block: int) -> SceneChange:
        if block == 0 or block not in self._scenes:
            return same_scene()
        scene, settings = self._scenes[block], self._engine.settings
        return settings.policy.begin_scene(settings.frames, scene.flush, scene.cut)

    def _next_block(self) -> list[Pixels]:
        """Queues one block; its pixel frames."""
        self._check_whole()
        engine, self._torn = self._engine, True
        if self.live is None:
            self.live = Live(engine.empty_memory(), None)
        if self._block in self._scenes:
            self._scene = self._scenes[self._block]
            self._prompt = engine.encode_prompt(self._scene.embeddings)
            if self._latents is None:  # steering for hours must not gather scenes
                self._scenes = {block: scene for block, scene in self._scenes.items() if block >= self._block}
        change, memory = self._change(self._block), self.live.memory
        if self._start and self._block < self._start.blocks:
            latents = self._next_given()
            memory = engine.store_block(memory, self._prompt, latents, change)
        else:
            memory, latents = engine.make_block(memory, self._prompt, np.array(self.seeds, np.uint32), change)
        pixels, cache = engine.decode(latents, self.live.cache)
        self.live = Live(memory, cache)
        if self._latents is not None:
            self._latents[-1:] = [np.asarray(block) for block in self._latents[-1:]]  # done by now; off the device
            self._latents.append(latents)
        if self._start and self._start.is_picture and self._block == 0:
            pixels = [pixels[-1][:, -1:]]  # it was held still
        self._block += 1
        self._made += sum(part.shape[1] for part in pixels)
        self._torn = False
        return pixels

    def _check_whole(self) -> None:
        if self._torn:
            raise RuntimeError("a block was interrupted while it was queued; restore the session from a saved state")

    def _next_given(self) -> Latents:
        """The latents of the next block that the video started from, for every video of the batch."""
        engine, size = self._engine, self._engine.settings.frames
        if self._given is None:
            latents = engine.encode_frames(self._start.frames())
            self._given = itertools.islice(latents, self._block * size, None)  # after a restart some are done
        block = np.stack([next(self._given) for _ in range(size)], axis=1)
        return jax.device_put(np.repeat(block, engine.batch, axis=0), engine.device)

    def _remembered(self) -> dict[int, EncodedScene]:
        """Scenes that a restart needs: the one that runs and those that come; all of them where latents are kept."""
        if self._latents is not None:
            return self._scenes
        running = max(block for block in self._scenes if block < self._block)  # the next one may have been asked for
        return {block: scene for block, scene in self._scenes.items() if block >= running}

    def _arrays(self, compact: bool, extra: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        for block, scene in self._remembered().items():
            yield f"{SCENES}{block}", scene.embeddings
        for name, array in extra.items():
            yield f"{EXTRA}{name}", array
        if self._waiting:
            yield WAITING, np.concatenate([_on_host(frames) for frames in self._waiting], axis=1)
        if self._latents is not None:
            yield LATENTS, np.concatenate([np.asarray(latents) for latents in self._latents], axis=1)
        if not compact:
            for path, leaf in parameters.named(self.live).items():
                yield f"{LIVE}{path}", np.asarray(leaf)


def _on_host(frames: list[Pixels] | Frames) -> Frames:
    return frames if isinstance(frames, np.ndarray) else to_host(frames)


def _check_start(state: SavedState, start: Start | None) -> None:
    """Raises ValueError if a state needs frames to start from and does not get them, or gets others."""
    began = state.record["start"]
    if start is None and began is not None and state.record["block"] < began["blocks"]:
        raise ValueError(f"the state {state.path} lies within the frames its video started from; give them again")
    if start is not None and (began is None or began["digest"] != start.digest):
        raise ValueError(f"the video of the state {state.path} did not start from these frames; leave them out")


def check_identity(state: SavedState, identity: Mapping[str, Any]) -> None:
    """Raises ValueError, which lists what differs, if a state was saved under another identity."""
    if differing := saved_state.differences(state.record["identity"], identity):
        raise ValueError(
            f"the state {state.path} was made with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGo on with the ones it was made with, or start the video anew"
        )


def _after(start: Start, scenes: Mapping[int, EncodedScene]) -> dict[int, EncodedScene]:
    """Scenes that follow given frames. Those are seen under the first prompt; a cut, if asked for, comes after them."""
    first = scenes[0]
    moved = {block + start.blocks: scene for block, scene in scenes.items()}
    if not (first.cut or first.flush):
        del moved[start.blocks]  # it goes on from the frames
    return {0: dataclasses.replace(first, flush=None, cut=False), **moved}
