"""The stages that write records: clips to latents (encode), and a teacher's trajectories (ode_pairs)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from steady_jax import parallel
from steady_jax.data.batches import stacked
from steady_jax.data.records import Field, Record
from steady_jax.diffusion import ode
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.models.wan_dit import WanDiT
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Int
from steady_jax.text import PromptTokenizer
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.moving import MOVING, moving_share
from steady_jax.train.stages.teacher import guided_velocity
from steady_jax.train.write_records import Item, Items, text_fields, text_part


class Encode:
    """Records with "latents" of clips, with their prompts, and where there is a text encoder with embeddings.

    Where items know what moves, "moving" is the share of each latent's pixels that may. Items without pixels give
    records without latents: embeddings of prompts, computed once for a long training.
    """

    def __init__(
        self, frozen: Frozen, encoders: Encoders, tokenizer: PromptTokenizer | None, shape: tuple[int, int, int, int]
    ) -> None:
        """Args: shape: frames, rows, columns and channels of a clip's latents."""
        self.frozen, self.encoders, self.tokenizer, self.shape = frozen, encoders, tokenizer, shape

    def fields(self, items: Items) -> Mapping[str, Field]:
        """What a record holds."""
        fields = {"latents": Field("float16", self.shape)} if "pixels" in items[0] else {}
        if MOVING in items[0]:
            fields[MOVING] = Field("float16", self.shape[1:3])
        return {**fields, **text_fields(items, _width(self.frozen))}

    def __call__(self, numbers: Int[np.ndarray, "b"], items: Sequence[Item]) -> Sequence[Record]:
        """The records of some items."""
        del numbers  # nothing is drawn
        embeddings = _embeddings(self.frozen, self.encoders, self.tokenizer, items)
        text = [text_part(item, one) for item, one in zip(items, embeddings, strict=True)]
        if "pixels" not in items[0]:
            return text
        pixels = _put(stacked([{"pixels": item["pixels"]} for item in items]), self.frozen.mesh)
        made = {"latents": np.asarray(self.encoders.latents(pixels)).astype(np.float16)}
        if MOVING in items[0]:
            moving = np.stack([item[MOVING] for item in items])
            made[MOVING] = np.asarray(moving_share(jnp.asarray(moving), *self.shape[1:3])).astype(np.float16)
        return [{**{name: array[index] for name, array in made.items()}, **more} for index, more in enumerate(text)]


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """What trajectories are stored."""

    ode: ODE
    calls: FewSteps  # of the student: the states at its noise levels, and the clean end, are stored
    shape: tuple[int, int, int, int]  # frames, rows, columns and channels of a clip's latents
    seed: int = 0

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps of the ODE whose states are stored."""
        return (*self.ode.kept(self.calls), self.ode.steps)


class ODEPairs:
    """Records with "trajectory" [k f h w c], a teacher's states from noise to clean, and "embeddings".

    The noise of a record depends on the seed and on its number alone.
    """

    def __init__(
        self,
        frozen: Frozen,
        encoders: Encoders,
        tokenizer: PromptTokenizer | None,
        settings: PairSettings,
        negative_prompt: str,
    ) -> None:
        self.frozen, self.encoders, self.tokenizer, self.settings = frozen, encoders, tokenizer, settings
        self._kept = settings.kept
        self._negative_prompt = negative_prompt
        results = parallel.replicated(frozen.mesh)
        self.programs = {"trajectory": Program(functools.partial(_trajectory, settings, self._kept), results=results)}

    @functools.cached_property
    def negative(self) -> Float[np.ndarray, "1 t c"]:
        """Embeddings of what guidance steers away from."""
        return self.encoders.of_prompts([self._negative_prompt])

    def fields(self, items: Items) -> Mapping[str, Field]:
        """What a record holds."""
        shape = (len(self._kept), *self.settings.shape)
        width = self.frozen.networks["teacher"].config.text_width
        return {"trajectory": Field("float16", shape), **text_fields(items, width)}

    def __call__(self, numbers: Int[np.ndarray, "b"], items: Sequence[Item]) -> Sequence[Record]:
        """The records of some items."""
        if "embeddings" in items[0]:
            embeddings = np.stack([np.asarray(item["embeddings"], np.float32) for item in items])
        else:
            embeddings = np.stack(_embeddings(self.frozen, self.encoders, self.tokenizer, items))
        inputs = _put({"embeddings": embeddings, "numbers": numbers.astype(np.uint32)}, self.frozen.mesh)
        made = self.programs["trajectory"](
            self.frozen["teacher"], inputs["embeddings"], self.negative, inputs["numbers"]
        )
        states = np.swapaxes(np.asarray(made), 0, 1).astype(np.float16)
        return [
            {"trajectory": one, **text_part(item, text)}
            for one, item, text in zip(states, items, embeddings, strict=True)
        ]


def _trajectory(
    settings: PairSettings,
    kept: tuple[int, ...],
    teacher: WanDiT,
    embeddings: Float[Array, "b t e"],
    negative: Float[Array, "1 t e"],
    numbers: Array,
) -> Float[Array, "k b f h w c"]:
    def noise_of(number: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(jax.random.key(settings.seed), number), settings.shape)

    noise = parallel.constrain(jax.vmap(noise_of)(numbers), "b f h w c")
    velocity = guided_velocity(teacher, embeddings, negative, settings.ode.guidance)
    return ode.trajectory(velocity, noise, settings.ode, kept)


def latents_shape(clip_frames: int, height: int, width: int, stride: int, channels: int) -> tuple[int, int, int, int]:
    """Frames, rows, columns and channels of the latents of a clip of height x width pixels."""
    return clip_frames, height // stride, width // stride, channels


def _embeddings(
    frozen: Frozen, encoders: Encoders, tokenizer: PromptTokenizer | None, items: Sequence[Item]
) -> list[Any]:
    """Embeddings of the items' prompts on the host; None each where there is no text encoder."""
    if "text_encoder" not in frozen:
        return [None] * len(items)
    ids, mask = tokenizer.encode([str(item["prompt"]) for item in items])
    made = encoders.embeddings(_put({"ids": ids, "mask": mask}, frozen.mesh))
    return list(np.asarray(made.astype(jnp.float32)))


def _width(frozen: Frozen) -> int | None:
    return frozen.networks["text_encoder"].config.width if "text_encoder" in frozen else None


def _put(batch: Mapping[str, np.ndarray], mesh: Mesh) -> Mapping[str, Array]:
    return jax.device_put(dict(batch), parallel.batch_sharding(mesh))
