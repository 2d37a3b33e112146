"""Measures the tiny model on fresh prompts: python scripts/evaluate_tiny.py --config=configs/evaluate_tiny.py

For each kind of scene it makes videos from several sources (procedural clips, their reconstructions, the teacher, the
student with its memory and with a plain window), lets the classifier name them, and measures stillness and motion.
What is there already is not made again.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from steady_jax import checkpoint
from steady_jax.block import BlockSettings
from steady_jax.config import block_settings, student_keys
from steady_jax.data import nature_flow
from steady_jax.diffusion import ode
from steady_jax.diffusion.ode import ODE
from steady_jax.evaluation import classifier, report, sharpness, tiny_report
from steady_jax.models.umt5 import UMT5Config, UMT5Encoder
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.pipeline import SteadyPipeline
from steady_jax.run import command_line
from steady_jax.run.command_line import usage_errors
from steady_jax.run.files import replacing
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.sheet import sheet_of_videos
from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.shapes import Array, Float, UInt8
from steady_jax.text import Tokenizer
from steady_jax.train.encoders import clip_to_latents, latents_to_clip
from steady_jax.train.stages.teacher import guided_velocity

Videos = UInt8[np.ndarray, "b f h w 3"]
SHORT = 5.0  # seconds of the sources that are no rollouts, and of the beginning and end that are named
SHOWN, ROWS = (0, 5, 30, 60, 240), 3  # seconds and videos on a sheet


@dataclasses.dataclass(frozen=True)
class Asked:
    """Some videos of one kind."""

    kind: str
    numbers: tuple[int, ...]  # of prompts and noise
    prompts: tuple[str, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Source:
    """Where videos come from."""

    make: Callable[[Asked], Videos]
    prompts: int  # of each kind
    seconds: float
    own_words: bool = False  # prompts of the config instead of those of the grammar


def main(config: ConfigDict, interrupt: Interrupt) -> None:
    """Makes and measures what is missing, and writes the report."""
    folder = Path(config.folder)
    with usage_errors():
        judge = classifier.load(config.classifier)
        kinds = config.kinds or nature_flow.KINDS
        sources = sources_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        for kind in kinds:
            file = folder / f"{name}-{kind}.json"
            if file.exists():
                continue
            found = []
            asked = asked_of(config, kind, source)
            for first in range(0, len(asked.numbers), config.batch):
                interrupt.check()
                videos = source.make(part_of(asked, first, config.batch))
                if not found:
                    times = [time for time in SHOWN if time <= source.seconds]
                    sheet_of_videos(list(videos[:ROWS]), folder / f"{name}-{kind}.png", at=times)
                found += [measured(judge, video) for video in videos]
                say(f"{name}, {kind}: {len(found)} of {len(asked.numbers)}")
            with replacing(file) as partial:
                told = [{"prompt": prompt, **one} for prompt, one in zip(asked.prompts, found, strict=True)]
                Path(partial).write_text(json.dumps(told, indent=1))
    results = {
        name: {kind: json.loads((folder / f"{name}-{kind}.json").read_text()) for kind in kinds} for name in sources
    }
    (folder / "report.md").write_text(tiny_report.markdown(results))
    say(f"wrote {folder / 'report.md'}")


def sources_of(config: ConfigDict) -> dict[str, Source]:
    """All sources, none of them begun.

    Raises:
        ValueError: a folder is no checkpoint.
    """
    size = {"batch": config.batch}
    pipeline = SteadyPipeline.from_checkpoint(config.checkpoint, **size)
    plain = SteadyPipeline.from_checkpoint(config.checkpoint, with_memory(pipeline.settings, config.window), **size)
    steady, window = (functools.partial(rolled_out, one) for one in (pipeline, plain))
    sources = {
        "procedural": Source(functools.partial(procedural, config.seed, pipeline), config.prompts, SHORT),
        "reconstruction": Source(functools.partial(reconstructed, config.seed, pipeline), config.prompts, SHORT),
    }
    if config.teacher:
        settings = ODE(config.teacher_steps, pipeline.settings.calls.shift, config.teacher_guidance)
        teacher = Teacher(config.teacher, pipeline, settings)
        sources["teacher"] = Source(teacher, config.prompts, SHORT)
    return {
        **sources,
        "own_words": Source(steady, 0, SHORT, own_words=True),
        "steady": Source(steady, config.prompts, config.seconds),
        "window": Source(window, config.prompts, config.seconds),
        "steady_long": Source(steady, config.long_prompts, config.long_seconds),
        "window_long": Source(window, config.long_prompts, config.long_seconds),
    }


def with_memory(settings: BlockSettings, memory: str) -> BlockSettings:
    """The same blocks and window under another policy."""
    keys = student_keys(memory)
    keys.memory.window = settings.policy.window
    return dataclasses.replace(settings, policy=block_settings(keys).policy)


def asked_of(config: ConfigDict, kind: str, source: Source) -> Asked:
    """Prompts of a kind that no training saw."""
    if source.own_words:
        prompts = tuple(config.own_words[kind])
        return Asked(kind, tuple(range(len(prompts))), prompts, source.seconds)
    numbers = tuple(range(source.prompts))
    prompts = tuple(nature_flow.prompt(held_out(config.seed), number, kind=kind) for number in numbers)
    return Asked(kind, numbers, prompts, source.seconds)


def part_of(asked: Asked, first: int, count: int) -> Asked:
    """Some of the videos."""
    part = slice(first, first + count)
    return dataclasses.replace(asked, numbers=asked.numbers[part], prompts=asked.prompts[part])


def held_out(seed: int) -> int:
    """A row of clips that is not trained on: these have even numbers."""
    return 2 * (1000 + seed) + 1


def procedural(seed: int, pipeline: SteadyPipeline, asked: Asked) -> Videos:
    """The clips that the prompts were written for."""
    engine, frames = pipeline.engine, 1 + round(asked.seconds * FRAMES_PER_SECOND)
    size = {"frames": frames, "height": engine.height, "width": engine.width, "kind": asked.kind}
    return np.stack([nature_flow.clip(held_out(seed), number, **size).pixels for number in asked.numbers])


def reconstructed(seed: int, pipeline: SteadyPipeline, asked: Asked) -> Videos:
    """The same clips through the VAE."""
    vae = pipeline.network("vae")
    return np.stack([np.asarray(_through(vae, clip[None]))[0] for clip in procedural(seed, pipeline, asked)])


@jax.jit
def _through(vae: object, clips: Array) -> Array:
    return latents_to_clip(vae, clip_to_latents(vae, clips))


def rolled_out(pipeline: SteadyPipeline, asked: Asked) -> Videos:
    """Videos of the student. A batch is filled up with the last prompt."""
    missing = pipeline.engine.batch - len(asked.numbers)
    prompts, seeds = [list(rows) + [rows[-1]] * missing for rows in (asked.prompts, asked.numbers)]
    plans = [pipeline.timeline(prompt, asked.seconds) for prompt in prompts]
    frames = np.concatenate(list(pipeline.session_of(plans, seeds)), axis=1)
    return frames[: len(asked.numbers)]


class Teacher:
    """Videos of the teacher, with many calls and guidance."""

    def __init__(self, folder: str, pipeline: SteadyPipeline, settings: ODE) -> None:
        found = checkpoint.describe(folder)
        dit = found.parts["dit"].config(DiTConfig, dtype="float32")
        text = found.parts["text_encoder"].config(UMT5Config, dtype="float32")
        self.dit = checkpoint.load_component(folder, "dit", WanDiT, dit)
        self.text_encoder = checkpoint.load_component(folder, "text_encoder", UMT5Encoder, text)
        self.tokenizer, self.pipeline = Tokenizer.from_folder(found.tokenizer, dit.text_length), pipeline
        self.sample, self.decode = jax.jit(functools.partial(_sampled, settings)), jax.jit(latents_to_clip)

    def __call__(self, asked: Asked) -> Videos:
        engine, vae = self.pipeline.engine, self.pipeline.network("vae")
        stride, frames = vae.config.spatial_stride, round(asked.seconds * FRAMES_PER_SECOND) // 4 + 1
        shape = (frames, engine.height // stride, engine.width // stride, vae.config.channels)
        keys = jax.vmap(jax.random.key)(jnp.asarray(asked.numbers, jnp.uint32))
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        own, none = (
            self.text_encoder(*map(jnp.asarray, self.tokenizer.encode(texts, allow_empty=True)))
            for texts in (asked.prompts, [""])
        )
        latents = self.sample(self.dit, noise, own, none)
        return np.stack([np.asarray(self.decode(vae, one[None]))[0] for one in latents])


def _sampled(
    settings: ODE, dit: WanDiT, noise: Array, own: Float[Array, "b t c"], none: Float[Array, "1 t c"]
) -> Array:
    unconditional = dit.encode_prompt(jnp.broadcast_to(none, own.shape))
    return ode.sample(guided_velocity(dit, dit.encode_prompt(own), unconditional, settings.guidance), noise, settings)


def measured(judge: classifier.Classifier, video: UInt8[np.ndarray, "f h w 3"]) -> Mapping[str, object]:
    """What is named and measured of one video: of its first five seconds, its last five, and all of it."""
    count = round(SHORT * FRAMES_PER_SECOND)
    first, last = video[:count], video[-count:]
    return {
        "first_named": named(judge, first),
        "last_named": named(judge, last),
        "sharpness": float(sharpness.laplacian_variance(first).mean()),
        "first": dict(report.measure(first, FRAMES_PER_SECOND).values),
        "whole": dict(report.measure(video, FRAMES_PER_SECOND).values),
    }


def named(judge: classifier.Classifier, video: UInt8[np.ndarray, "f h w 3"]) -> str:
    """The kind that a video shows most."""
    return judge.kinds[int(np.argmax(classifier.probabilities(judge, video)))]


def say(text: str) -> None:
    """Tells the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main, __doc__)
