"""Where the videos of a trial come from: procedural clips, the VAE alone, a teacher, and a student's rollouts.

Prompts and noise are functions of the trial's seed, the kind of scene and a number: sources that are compared see the
same ones. The prompts are those of held-out clips.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from steady_jax.block import BlockSettings
from steady_jax.config import ABLATION, known
from steady_jax.data import nature_flow
from steady_jax.data.rows import row
from steady_jax.memory.steady import Steady
from steady_jax.models.wan_vae import WanVAE
from steady_jax.pipeline import SteadyPipeline
from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.shapes import Array, Bool, UInt8
from steady_jax.train.encoders import clip_to_latents, latents_to_clip

FIRST_SEED = 1000  # of the rows of clips: far from those that trainings take
FLICKER = 2  # levels, at most, of the noise on pictures that stand still


@dataclasses.dataclass(frozen=True)
class Asked:
    """Some videos of one kind."""

    kind: str
    numbers: tuple[int, ...]  # of held-out clips
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]  # of noise
    seconds: float


@dataclasses.dataclass(frozen=True)
class Made:
    """Videos, and where they move if that is known."""

    videos: UInt8[np.ndarray, "b f h w 3"]
    masks: Bool[np.ndarray, "b h w"] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """One of the things that are compared."""

    make: Callable[[Asked], Made]
    prompts: int | Mapping[str, Sequence[str]]  # how many of each kind, or the prompts themselves
    seconds: float
    batch: int  # videos that are made together


def asked_of(source: Source, kind: str, seed: int) -> Asked:
    """The videos of one kind that a source is to make."""
    if isinstance(source.prompts, int):
        numbers = tuple(range(source.prompts))
        prompts = tuple(nature_flow.prompt(_row(seed), number, kind=kind) for number in numbers)
    else:
        prompts = tuple(source.prompts[kind])
        numbers = tuple(range(len(prompts)))
    return Asked(kind, numbers, prompts, tuple(noise_seed(seed, kind, number) for number in numbers), source.seconds)


def batches(asked: Asked, size: int) -> list[Asked]:
    """The same, cut into parts of at most `size` videos."""
    parts = [slice(first, first + size) for first in range(0, len(asked.prompts), size)]
    return [
        dataclasses.replace(asked, numbers=asked.numbers[p], prompts=asked.prompts[p], seeds=asked.seeds[p])
        for p in parts
    ]


def noise_seed(seed: int, kind: str, number: int) -> int:
    """0..2^32-1, another one for each video of a trial."""
    sequence = np.random.SeedSequence([seed, nature_flow.KINDS.index(kind), number])
    return int(sequence.generate_state(1)[0])


def procedural(asked: Asked, seed: int, height: int, width: int) -> Made:
    """The clips that the prompts were written for."""
    size = {"frames": 1 + round(asked.seconds * FRAMES_PER_SECOND), "height": height, "width": width}
    clips = [nature_flow.clip(_row(seed), number, kind=asked.kind, **size) for number in asked.numbers]
    return Made(np.stack([clip.pixels for clip in clips]), np.stack([clip.mask for clip in clips]))


def frozen(asked: Asked, seed: int, height: int, width: int) -> Made:
    """The first frame of each clip, standing still under a little noise: what measures of motion say of no motion."""
    first = procedural(dataclasses.replace(asked, seconds=0), seed, height, width).videos.astype(np.int16)
    shape = (1 + round(asked.seconds * FRAMES_PER_SECOND), *first.shape[2:])
    noise = [np.random.default_rng(seed).integers(-FLICKER, FLICKER + 1, shape, np.int16) for seed in asked.seeds]
    return Made(np.clip(first + np.stack(noise), 0, 255).astype(np.uint8))


def reconstructed(asked: Asked, vae: WanVAE, seed: int, height: int, width: int) -> Made:
    """The clips through the VAE."""
    made = procedural(asked, seed, height, width)
    videos = np.stack([np.asarray(_through(vae, clip[None]))[0] for clip in made.videos])
    return dataclasses.replace(made, videos=videos)


def rolled_out(asked: Asked, open_pipeline: Callable[[], SteadyPipeline]) -> Made:
    """Videos of a student. The last part of a kind may be smaller than the pipeline's batch: the rest is dropped."""
    pipeline = open_pipeline()
    missing = pipeline.engine.batch - len(asked.prompts)
    prompts, seeds = ([*values, *[values[-1]] * missing] for values in (asked.prompts, asked.seeds))
    plans = [pipeline.timeline(prompt, asked.seconds) for prompt in prompts]
    frames = np.concatenate(list(pipeline.session_of(plans, seeds)), axis=1)
    return Made(frames[: len(asked.prompts)])


def ablated(settings: BlockSettings, name: str) -> BlockSettings:
    """The same blocks under the student's own memory with parts switched off.

    Args:
        name: a row of Steady-Forcing's ablation ("none": a window without sinks).
    Raises:
        ValueError: an unknown row, or the student is one of another memory than `steady`.
    """
    changes = known(name, ABLATION, "row of the ablation")
    if not isinstance(settings.policy, Steady):
        raise ValueError(
            f"the ablation switches parts of the memory `steady` off, and this student is one of "
            f"{type(settings.policy).__name__}; name a student of `steady`"
        )
    return dataclasses.replace(settings, policy=dataclasses.replace(settings.policy, **changes))


def _row(seed: int) -> int:
    return row(FIRST_SEED + seed, held_out=True)


@jax.jit
def _through(vae: WanVAE, clips: Array) -> Array:
    return latents_to_clip(vae, clip_to_latents(vae, clips))
