"""Rollouts of the published systems, frames and memory contents, through the converter."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from helpers_convert import dit_from_torch

from steady_jax import block
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.base import same_scene
from steady_jax.memory.ema_sink import EMASink
from steady_jax.memory.infinity_rope import InfinityRope
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.memory.v_sink import VSink
from steady_jax.scenes import parse, timeline

TOLERANCE = 1e-4
PUBLISHED_WINDOW = 21  # what local_attn_size -1 stands for


def self_forcing(config):
    local = config["local_attn_size"]
    return SelfForcing(PUBLISHED_WINDOW if local < 0 else local, config["sink_size"], rolling=local > 0)


def v_sink(config):
    return VSink(config["local_attn_size"], config["sink_size"])


def infinity_rope(config):
    return InfinityRope(config["local_attn_size"], config["sink_size"])


def ema_sink(config):
    return EMASink(config["local_attn_size"], config["sink_size"], alpha=config["compression_alpha"])


def steady(config):
    return Steady(config["local_attn_size"], config["sink_size"], alpha=config["compression_alpha"])


@pytest.mark.fixtures
@pytest.mark.parametrize(
    ("name", "policy_of"),
    [
        ("rollout_self_forcing", self_forcing),
        ("rollout_self_forcing_local9_sink1", self_forcing),
        ("rollout_infinite_forcing_vsink1", v_sink),
        ("rollout_infinity_rope", infinity_rope),
        ("rollout_reward_forcing_ema", ema_sink),
        ("rollout_steady_forcing", steady),
        ("rollout_steady_forcing_6f", steady),
        ("rollout_scene_switch", infinity_rope),
        ("rollout_scene_switch_steady", steady),
    ],
)
def test_frames_and_memory_equal_the_published(published, name, policy_of):
    numbers = published(name)
    config = numbers.meta["config"]
    dit = dit_from_torch(published("wan_t2v_tiny").parameters, config)
    calls = FewSteps(tuple(config["denoising_steps"]), config["timestep_shift"], float(config["context_noise"]))
    settings = BlockSettings(policy_of(config), calls, config["num_frame_per_block"])
    settings.policy.check(settings.frames, config["blocks"])
    scenes = scenes_of(dit, settings, numbers)
    noise = rollout_noise(numbers, settings.frames)
    height, width = noise.shape[4:6]
    memory = block.empty_memory(dit, settings, noise.shape[2], height, width)

    @jax.jit
    def generate(dit, memory, prompt, noise, change):
        return block.generate_block(dit, settings, memory, prompt, noise, change)

    @jax.jit
    def room(memory, change):
        return settings.policy.make_room(memory, settings.frames, change)[0]

    tokens_per_frame, compared = config["tokens_per_frame"], 0
    for index in range(config["blocks"]):
        if index in scenes:
            prompt, change = scenes[index]
        else:
            change = same_scene()
        compared += compare_memory(numbers, f"before{index}", room(memory, change), tokens_per_frame)
        memory, x0 = generate(dit, memory, prompt, noise[index], change)
        expected = numbers["out:denoised"][index]
        np.testing.assert_allclose(rearrange(x0, "b f h w c -> b f c h w"), expected, atol=TOLERANCE, rtol=0)
        compared += compare_memory(numbers, f"after{index}", memory, tokens_per_frame)
    assert compared == sum(bool(re.fullmatch(r"out:cache_\w+_[kv]_layer\d+", name)) for name in numbers.names)


def scenes_of(dit, settings, numbers):
    """The prompt and the change of memory of each scene, by the block it begins with."""
    if numbers.meta["prompt_text"] is None:
        return {0: (dit.encode_prompt(jnp.asarray(numbers["in:prompt_embeds"])), same_scene())}
    plan = timeline(parse(numbers.meta["prompt_text"]), None, settings.frames, temporal_stride=4)
    assert plan.blocks == numbers.meta["config"]["blocks"]
    changes = [settings.policy.begin_scene(settings.frames, scene.flush, scene.cut) for scene in plan.scenes]
    prompts = [dit.encode_prompt(jnp.asarray(embeddings)) for embeddings in numbers["in:prompt_embeds"]]
    return dict(zip(plan.starts, zip(prompts, [same_scene(), *changes[1:]], strict=True), strict=True))


def rollout_noise(numbers, frames):
    """Noise of each block and call, [blocks, calls, b, f, h, w, c]."""
    first = rearrange(numbers["in:noise"], "b (i f) c h w -> i 1 b f h w c", f=frames)
    later = rearrange(numbers["in:renoise"], "i s b f c h w -> i s b f h w c")
    return jnp.concatenate([first, later], axis=1)


def compare_memory(numbers, moment, memory, tokens_per_frame):
    """Compares whole buffers, stale slots included, in the layers that the file holds. Returns how many it compared."""
    names = [name for name in numbers.names if re.fullmatch(rf"out:cache_{moment}_[kv]_layer\d+", name)]
    for name in names:
        buffer, layer = re.fullmatch(r".*_([kv])_layer(\d+)", name).groups()
        ours = dataclasses.asdict(memory)[buffer][int(layer)].reshape(numbers[name].shape)  # splits the heads
        np.testing.assert_allclose(ours, numbers[name], atol=TOLERANCE, rtol=0, err_msg=name)
    if names:
        assert memory.filled * tokens_per_frame == numbers[f"out:cache_{moment}_local_end_index"]
        assert memory.frame * tokens_per_frame == numbers[f"out:cache_{moment}_global_end_index"]
    return len(names)
