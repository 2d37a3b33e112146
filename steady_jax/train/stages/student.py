"""Videos of a student in training, for the stages that have one."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from steady_jax import parallel
from steady_jax.models.wan_dit import WanDiT
from steady_jax.program import Program
from steady_jax.shapes import Array, Latents, UInt8, UInt32
from steady_jax.train import self_rollout
from steady_jax.train.encoders import Encoders
from steady_jax.train.self_rollout import RolloutSettings


def sampler(rollout: RolloutSettings, mesh: Mesh) -> Program:
    """The program (weights, embeddings, seeds) -> latents of whole rollouts.

    They are made as in training, under the same memory, but with all calls and finished blocks stored clean.
    """
    rollout = dataclasses.replace(rollout, context_sigma=0.0)
    return Program(functools.partial(_sample, rollout), results=parallel.replicated(mesh))


def samples(
    sample: Program, weights: WanDiT, encoders: Encoders, prompts: Sequence[str]
) -> Mapping[str, UInt8[np.ndarray, "f height width rgb"]]:
    """Frames of one video per prompt, by names made of the prompts; the same noise each time."""
    if not prompts:
        return {}
    filled = parallel.filled_up(prompts, encoders.mesh)
    seeds = np.arange(len(filled), dtype=np.uint32)
    return encoders.videos(prompts, sample(weights, encoders.of_prompts(filled), seeds))


def _sample(rollout: RolloutSettings, weights: WanDiT, embeddings: Array, seeds: UInt32[Array, "b"]) -> Latents:
    rolled = self_rollout.roll(weights, rollout, embeddings, seeds, rollout.calls - 1)
    return jnp.concatenate([rolled.before, rolled.clip], axis=1)
