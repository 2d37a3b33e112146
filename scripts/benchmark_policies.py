"""Compares the memory policies and prints a table: python scripts/benchmark_policies.py --config=configs/tiny.py

Takes the configs of sample.py without their argument: all policies with the settings of the config, and the rows of
the ablation. Weights are random, which costs the same time and memory. Counted are blocks whose window is full.
"""

import dataclasses
import statistics
import sys
import time

import jax
import jax.numpy as jnp
from benchmark import Running, random_embeddings, seconds_of

from steady_jax import parameters
from steady_jax.config import ABLATION, MODELS, POLICIES, block_settings
from steady_jax.engine import Engine
from steady_jax.memory.base import KVMemory, same_scene
from steady_jax.models.wan_dit import WanDiT
from steady_jax.program import Program
from steady_jax.run import command_line

COUNTED = 7  # blocks
MEGABYTE = 1e6
COLUMNS = (
    *("policy", "window", "sink", "block", "keys and values, MB", "ms per block", "ms per latent frame"),
    *("making room, ms", "temporaries of a block, MB"),
)


def main(words: list[str]) -> None:
    """Measures one policy after the other, with the same weights."""
    file = next((word for word in words if word.startswith("--config=")), "")
    others = [word for word in words if word != file]
    names = [*POLICIES, *(f"ablation/{row}" for row in ABLATION)]
    configs = [command_line.parse(["", f"{file}:{name}" if file else "", *others]) for name in names]
    model = MODELS[configs[0].model].computing_in(configs[0].dtype, configs[0].attention)
    dit = parameters.random(WanDiT, model.dit, dtype=jnp.dtype(model.dit.dtype))
    print_row(f"{jax.devices()[0].device_kind}, jax {jax.__version__}: {' '.join(words)}\n")
    print_row(f"| {' | '.join(COLUMNS)} |")
    print_row(f"|{'---|' * len(COLUMNS)}")
    for name, config in zip(names, configs, strict=True):
        size = {"height": config.height, "width": config.width}
        row = measured(Engine(model, lambda _: dit, block_settings(config), **size))
        print_row(f"| `{name}` | {' | '.join(row)} |")


def measured(engine: Engine) -> list[str]:
    """The numbers of one policy, in the order of the columns."""
    frames, policy = engine.settings.frames, engine.settings.policy
    running = Running(engine, random_embeddings(engine.model.dit), seed=0)
    for _ in range(policy.window // frames + 1):  # self_forcing is measured as if it rolled
        jax.block_until_ready(running.next_latents())
    block = statistics.median(seconds_of(running.next_latents) for _ in range(COUNTED))
    stored = sum(buffer.nbytes for buffer in (running.memory.k, running.memory.v))
    numbers = [
        stored / MEGABYTE,
        1e3 * block,
        1e3 * block / frames,
        1e3 * seconds_of_making_room(engine, running.memory),
        engine.programs["block"].memory["temporaries"] / MEGABYTE,
    ]
    return [str(policy.window), str(policy.sink), str(frames), *(f"{number:.1f}" for number in numbers)]


def seconds_of_making_room(engine: Engine, memory: KVMemory) -> float:
    """Seconds of evicting one block, as a program of its own."""
    settings = engine.settings
    program, seconds = Program(lambda m: settings.policy.make_room(m, settings.frames, same_scene())[0], donate=[0]), []
    for _ in range(COUNTED + 1):  # the first one compiles
        memory = dataclasses.replace(memory, filled=jnp.int32(settings.policy.window), block=jnp.int32(1))
        start = time.perf_counter()
        memory = jax.block_until_ready(program(memory))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def print_row(text: str) -> None:
    """Writes a line at once: a policy takes a while."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except command_line.UsageError as error:
        sys.exit(f"error: {error}")
