"""Runs the transformer on a mesh of 8 virtual devices and on one device, and prints what differs as JSON.

JAX_PLATFORMS=cpu python -m check_mesh '{"fsdp": 2, "context": 2, "tensor": 2}' block-causal rollout
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from steady_jax import block, parallel, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.rollout import block_noise, rollout

TINY = DiTConfig(
    width=64,
    ffn_width=96,
    heads=4,
    layers=2,
    text_width=48,
    text_length=16,
    frequency_width=32,
    dtype="float32",
    attention="xla",
    remat="layer",
)
BATCH, FRAMES, HEIGHT, WIDTH = 4, 4, 4, 6  # 6 tokens in a frame


def make_dit():
    return parameters.random(WanDiT, TINY)


def inputs():
    random = np.random.default_rng(0)
    x = random.standard_normal((BATCH, FRAMES, HEIGHT, WIDTH, 16)).astype(np.float32)
    timesteps = np.float32([[937.5, 20, 0, 500]] * BATCH)
    text = random.standard_normal((BATCH, TINY.text_length, TINY.text_width)).astype(np.float32)
    return x, timesteps, text


def whole_clip(dit, x, timesteps, text):
    return dit(x, timesteps, dit.encode_prompt(text))


def block_causal(dit, x, timesteps, text):
    return dit.block_causal(x, timesteps, dit.encode_prompt(text), 2)


def with_gradient(forward):
    def loss(dit, *arguments):
        velocity = forward(dit, *arguments)
        return jnp.sum(velocity**2), velocity

    return lambda dit, *arguments: jax.value_and_grad(loss, has_aux=True)(dit, *arguments)


def three_blocks(dit, _x, _timesteps, text):
    """With evictions, averages and an anchor; and the gradient of one more call, by the weights and by the noise."""
    settings = BlockSettings(Steady(window=4, sink=2, flush_keep=3, flush_warmup=100), FewSteps((1000,)), 2)
    memory, prompt = block.empty_memory(dit, settings, BATCH, HEIGHT, WIDTH), dit.encode_prompt(text)
    noise = block_noise(jnp.arange(BATCH, dtype=jnp.uint32), 1, (2, HEIGHT, WIDTH, 16))
    memory, latents = rollout(dit, settings, memory, prompt, noise, 3)
    opened, view = block.open_block(settings, TINY, memory, HEIGHT, WIDTH)

    def loss(dit, xt):
        return jnp.sum(block.predict_x0(dit, settings, opened, view, prompt, xt, 0) ** 2)

    return latents, memory, jax.grad(loss, (0, 1))(dit, noise(3)[0])


PROGRAMS = {
    "whole clip": with_gradient(whole_clip),
    "block-causal": with_gradient(block_causal),
    "rollout": three_blocks,
}


def main(sizes, *names):
    dit, given, programs = make_dit(), inputs(), {name: PROGRAMS[name] for name in names}
    expected = {name: jax.jit(program)(dit, *given) for name, program in programs.items()}
    mesh = parallel.make_mesh(json.loads(sizes))
    cut = parallel.shardings(parameters.abstract(WanDiT, TINY), mesh)
    with jax.set_mesh(mesh):
        sharded = jax.jit(make_dit, out_shardings=cut)()
        items = [jax.device_put(array, on_items(array, mesh)) for array in given]
        found = {name: jax.jit(program)(sharded, *items) for name, program in programs.items()}
    latents, memory, _ = found["rollout"]
    kernel = sharded.blocks.self_attn.q.kernel[...]
    report = {
        "devices": jax.device_count(),
        "differences": {name: difference(found[name], expected[name]) for name in programs},
        "parameters": difference(sharded, dit),
        "pieces": {"kernel": piece(kernel), "memory": piece(memory.k), "latents": piece(latents)},
    }
    print(json.dumps(report))


def on_items(array, mesh):
    return NamedSharding(mesh, parallel.fitted(array.shape, parallel.batch_sharding(mesh).spec, mesh))


def piece(array):
    """What of it one device holds."""
    return array.addressable_shards[0].data.shape


def difference(found, expected):
    """The largest, as a share of the largest number of its array where that is above 1."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max() / max(1, np.abs(b).max())) for a, b in pairs)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    main(*sys.argv[1:])
