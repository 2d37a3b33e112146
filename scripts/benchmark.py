"""Measures sampling and prints one JSON: python scripts/benchmark.py --config=configs/tiny.py

Takes the configs of sample.py. Without a checkpoint weights are random, which costs the same time and memory. Speeds
are pixel frames per second; "denoise" counts all calls of a block, the refresh call included.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from steady_jax.block import empty_memory
from steady_jax.engine import Engine
from steady_jax.memory.base import same_scene
from steady_jax.models.wan_dit import DiTConfig
from steady_jax.pipeline import SteadyPipeline
from steady_jax.program import Program
from steady_jax.run import command_line
from steady_jax.run.command_line import usage_errors
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.sidecar import plain, versions
from steady_jax.scenes import FRAMES_PER_SECOND

COUNTED_BLOCKS = 5  # after the window is full


def main(config: ConfigDict, interrupt: Interrupt) -> None:
    """Fills the window, then times blocks, decoding, and both together."""
    with usage_errors():
        if config.batch != 1:
            raise ValueError(f"what is timed is one video, got --config.batch={config.batch}; leave it at 1")
        pipeline = SteadyPipeline.from_config(config)
    embeddings = random_embeddings(pipeline.model.dit)
    compile_and_run(Running(pipeline.engine, embeddings, config.seed))
    interrupt.check()

    running = Running(pipeline.engine, embeddings, config.seed)
    latency = seconds_of(lambda: running.decode(running.next_latents()))
    for _ in range(pipeline.settings.policy.window // pipeline.settings.frames):
        latents = running.next_latents()
    frames = pipeline.settings.frames * pipeline.model.vae.temporal_stride
    fps = {
        "denoise_fps": running.next_latents,
        "vae_fps": lambda: running.decode(latents),
        "end_to_end_fps": lambda: jax.device_get(running.decode(running.next_latents())),
    }
    used = {name: program for name, program in pipeline.engine.programs.items() if program.compile_seconds}
    room, layer_bytes = make_room(pipeline)
    report = {
        "config": config,
        "weights": config.checkpoint or "random",
        "compile_seconds": {name: program.compile_seconds for name, program in used.items()},
        "first_block_latency_seconds": latency,
        "calls_per_block": len(pipeline.settings.calls.steps) + 1,
        "pixel_frames_per_block": frames,
        **{
            name: frames / statistics.median(seconds_of(work) for _ in range(COUNTED_BLOCKS))
            for name, work in fps.items()
        },
        "frames_per_second_of_video": FRAMES_PER_SECOND,
        "peak_memory_bytes": peak_memory(),
        "program_memory_bytes": {name: program.memory for name, program in {**used, "make_room": room}.items()},
        "memory_layer_bytes": layer_bytes,
        "versions": versions(jax.devices()[0].device_kind),
    }
    json.dump(plain(report), sys.stdout, indent=2)
    sys.stdout.write("\n")


class Running:
    """One video in the making, in the pieces that are timed. Calls return as soon as the work is queued."""

    def __init__(self, engine: Engine, embeddings: jax.Array, seed: int) -> None:
        self._engine, self._seeds = engine, np.array([seed], np.uint32)
        self._prompt, self.memory, self._cache = engine.encode_prompt(embeddings), engine.empty_memory(), None

    def next_latents(self) -> jax.Array:
        """Makes the next block."""
        self.memory, latents = self._engine.make_block(self.memory, self._prompt, self._seeds, same_scene())
        return latents

    def decode(self, latents: jax.Array) -> list[jax.Array]:
        """Pixel frames of the next block."""
        pixels, self._cache = self._engine.decode(latents, self._cache)
        return pixels


def compile_and_run(running: Running) -> None:
    """Runs every program once; a block has at least the two latent frames that need the VAE's two programs, or gets
    more.
    """
    for _ in range(2):
        jax.block_until_ready(running.decode(running.next_latents()))


def make_room(pipeline: SteadyPipeline) -> tuple[Program, int]:
    """Making room as a program of its own, compiled but not run, and the bytes of one layer of the memory."""
    settings, size = pipeline.settings, pipeline.engine.latent_size
    program = Program(lambda memory: settings.policy.make_room(memory, settings.frames, same_scene()), donate=[0])
    memory = jax.eval_shape(lambda dit: empty_memory(dit, settings, 1, *size), pipeline.network("dit"))
    program.compile(memory)
    return program, 2 * memory.k.size * memory.k.dtype.itemsize // memory.k.shape[0]


def random_embeddings(dit: DiTConfig) -> jax.Array:
    """Stands for an encoded prompt: the text encoder runs once per prompt and is no part of what is measured."""
    return jax.random.normal(jax.random.key(0), (1, dit.text_length, dit.text_width), dit.dtype)


def seconds_of(work: Callable[[], Any]) -> float:
    """Seconds until the result of `work` is there."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def peak_memory() -> dict[str, int]:
    """Peak bytes of the process, and of the device where it counts its own."""
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    device = jax.local_devices()[0].memory_stats() or {}
    return {"process": process, "device": device.get("peak_bytes_in_use", 0)}


if __name__ == "__main__":
    command_line.run(main, __doc__)
