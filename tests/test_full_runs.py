"""Checks that take minutes: long videos, and one block of the real size."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steady_jax import block, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.models.wan_dit import DIT_SIZES, WanDiT
from steady_jax.rollout import block_noise

HERE = Path(__file__).parent
MEGABYTE = 2**20
# one arena, and large blocks given back at once: otherwise the C library keeps up to 30 MB more or less by chance
PLAIN_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}


@pytest.mark.slow
def test_four_minutes_of_video_need_the_memory_of_twenty_seconds(tmp_path):
    short, long = (measured(tmp_path / str(seconds), seconds) for seconds in (20, 240))
    assert short["compilations"] == long["compilations"] == 0
    assert long["peak_bytes"] <= short["peak_bytes"] + max(0.01 * short["peak_bytes"], 20 * MEGABYTE), (short, long)


def measured(folder, seconds):
    done = subprocess.run(
        [sys.executable, HERE / "measure_memory.py", folder, str(seconds)],
        env={**os.environ, **PLAIN_MALLOC, "PYTHONPATH": str(HERE.parent), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sys.stdout.write(f"{seconds} s: {done.stdout}\n")
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_block_of_the_real_network_at_a_small_size():
    """All 1.3B parameters in bfloat16, 64x64 pixels, published memory; a second block reads the first."""
    config = DIT_SIZES["1.3b"]
    dit = parameters.random(WanDiT, config, dtype=jnp.bfloat16)
    settings = BlockSettings(Steady(), FewSteps(), frames=6)
    prompt = dit.encode_prompt(jnp.zeros((1, config.text_length, config.text_width), jnp.bfloat16))
    memory = block.empty_memory(dit, settings, 1, 8, 8)
    noise = block_noise(jnp.array([0], jnp.uint32), len(settings.calls.steps), (settings.frames, 8, 8, config.channels))
    step = jax.jit(lambda dit, memory, prompt: block.generate_block(dit, settings, memory, prompt, noise(memory.block)))
    for _ in range(2):
        memory, x0 = step(dit, memory, prompt)
        assert np.isfinite(x0).all()
        assert x0.std() > 0.1
    assert (memory.filled, memory.block) == (12, 2)
    assert dataclasses.asdict(memory)["k"].dtype == jnp.bfloat16
