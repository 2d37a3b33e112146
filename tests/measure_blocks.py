"""Run as a program: bytes of temporaries of the generator's gradient at real size, against the number of blocks.

python -m tests.measure_blocks v5e:8x8 8 8     (the slice, and its mesh: fsdp, context)

One line of JSON per program: "roll" and "gradient" are the two passes of a rollout of the 1.3B student (published
settings, an item per device row), "naive" is `jax.grad` through one scan over blocks whose body is rematerialised.
"""

import dataclasses
import functools
import json
import sys

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from configs.distill_steady_1_3b import get_config
from scripts.plan import described
from steady_jax import block, parallel
from steady_jax.config import block_settings
from steady_jax.models.wan_dit import DIT_SIZES, WanDiT
from steady_jax.program import Program
from steady_jax.rollout import block_noise
from steady_jax.train import self_rollout
from steady_jax.train.networks import Network, laid_out
from steady_jax.train.self_rollout import RolloutSettings

BLOCKS = (3, 7, 14)


def main(topology: str, fsdp: str, context: str) -> None:
    mesh = parallel.make_mesh({"fsdp": int(fsdp), "context": int(context), "data": -1}, described(topology))
    config = get_config()
    sizes = dataclasses.replace(DIT_SIZES["1.3b"], attention="tpu", remat=config.remat)
    dit, made = Network(WanDiT, sizes, "dit").abstract(mesh), block_settings(config)
    items = mesh.shape["data"] * mesh.shape["fsdp"]
    for blocks in BLOCKS:
        settings = RolloutSettings(made, blocks, blocks, config.height // 8, config.width // 8)
        for name, sizes_of in measured(settings, dit, items, mesh):
            print(json.dumps({"blocks": blocks, "program": name, **sizes_of}), flush=True)


def measured(settings: RolloutSettings, dit: WanDiT, items: int, mesh: Mesh, names=("roll", "gradient", "naive")):
    """Compiles the programs: their names and memory, bytes on a device. dit: abstract."""
    functions = {"roll": _roll, "gradient": _gradient, "naive": _naive}
    arguments = abstract_arguments(settings, dit, items, mesh)
    for name in names:
        program = Program(functools.partial(functions[name], settings))
        with jax.set_mesh(mesh):
            program.compile(*arguments[name])
        yield name, program.memory


def abstract_arguments(settings: RolloutSettings, dit: WanDiT, items: int, mesh: Mesh) -> dict[str, tuple]:
    def placed(leaf, layout=None):
        known = layout and leaf.ndim
        place = parallel.activation_sharding(leaf.shape, layout, mesh) if known else parallel.replicated(mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    text = (items, dit.config.text_length, dit.config.text_width)
    embeddings = placed(jax.ShapeDtypeStruct(text, dit.config.dtype), "b t c")
    seeds, exit_call = (placed(jax.ShapeDtypeStruct(*of)) for of in (((items,), "uint32"), ((), "int32")))
    with jax.set_mesh(mesh):
        rolled = jax.eval_shape(functools.partial(_roll, settings), dit, embeddings, seeds, exit_call)
    rolled = self_rollout.Rolled(
        placed(rolled.before, "b f h w c"),
        jax.tree.map(lambda leaf: placed(leaf, "l b s d"), rolled.memory),
        placed(rolled.xt, "i b f h w c"),
        placed(rolled.x0, "i b f h w c"),
    )
    first = (dit, embeddings, seeds, exit_call)
    return {"roll": first, "gradient": (*first, rolled), "naive": first}


def _roll(settings, dit, embeddings, seeds, exit_call):
    return self_rollout.roll(dit, settings, embeddings, seeds, exit_call)


def _gradient(settings, dit, embeddings, seeds, exit_call, rolled):
    slope = jax.grad(_loss)(rolled.clip)
    return laid_out(self_rollout.gradient(dit, settings, embeddings, seeds, exit_call, rolled, slope))


def _naive(settings, dit, embeddings, seeds, exit_call):
    """What one would write first: the rollout as one scan, its body computed again in the backward pass."""
    frozen, config = jax.lax.stop_gradient(dit), dit.config
    shape = (settings.block.frames, settings.height, settings.width, config.channels)
    noise = block_noise(seeds, settings.calls, shape)

    def loss_of(dit):
        prompt = dit.encode_prompt(embeddings)
        cut_off = jax.lax.stop_gradient(prompt)

        def one_block(memory, _):
            memory, view = block.open_block(settings.block, config, memory, settings.height, settings.width)
            xt = block.denoise(frozen, settings.block, memory, view, cut_off, noise(memory.block), exit_call)
            xt = jax.lax.stop_gradient(xt)
            x0 = block.predict_x0(dit, settings.block, memory, view, prompt, xt, exit_call)
            return block.refresh(frozen, settings.block, memory, view, cut_off, jax.lax.stop_gradient(x0)), x0

        memory = block.empty_memory(dit, settings.block, seeds.shape[0], settings.height, settings.width)
        _, clip = jax.lax.scan(jax.checkpoint(one_block), memory, length=settings.blocks)
        return _loss(clip)

    return laid_out(jax.grad(loss_of)(dit))


def _loss(clip):
    return jnp.mean(jnp.square(clip))


if __name__ == "__main__":
    main(*sys.argv[1:])
