"""The generator step's programs against the number of blocks, and what a scan that is simply rematerialised takes."""

import functools

import jax
import jax.numpy as jnp

from steady_jax import block, parallel
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.models.wan_dit import WanDiT
from steady_jax.program import Program
from steady_jax.rollout import block_noise
from steady_jax.train import self_rollout
from steady_jax.train.networks import laid_out
from steady_jax.train.self_rollout import RolloutSettings


def settings_of(frames: int, window: int, blocks: int, height: int, width: int) -> RolloutSettings:
    """Rollouts of `blocks` blocks that are all counted; the window stays, whatever their number."""
    made = BlockSettings(SelfForcing(window=window, sink=1, rolling=True), FewSteps(), frames)
    return RolloutSettings(made, blocks, blocks, height, width)


def programs(settings: RolloutSettings) -> dict[str, Program]:
    """Both passes of ours, and the naive gradient; all of a loss that is the mean square of the clip."""
    roll = functools.partial(_roll, settings)
    return {
        "roll": Program(roll),
        "gradient": Program(functools.partial(_gradient, settings)),
        "naive": Program(functools.partial(_naive, settings)),
    }


def arguments(settings: RolloutSettings, dit: WanDiT, items: int, mesh=None) -> dict[str, tuple]:
    """Abstract arguments of the programs; dit is abstract."""
    config = dit.config

    def placed(leaf, layout=None):
        if mesh is None:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        layout = layout if leaf.ndim else None
        place = parallel.activation_sharding(leaf.shape, layout, mesh) if layout else parallel.replicated(mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    embeddings = placed(jax.ShapeDtypeStruct((items, config.text_length, config.text_width), config.dtype), "b t c")
    seeds = placed(jax.ShapeDtypeStruct((items,), "uint32"))
    exit_call = placed(jax.ShapeDtypeStruct((), "int32"))
    first = (dit, embeddings, seeds, exit_call)
    rolled = jax.eval_shape(functools.partial(_roll, settings), *first)
    rolled = self_rollout.Rolled(
        placed(rolled.before, "b f h w c"),
        jax.tree.map(lambda leaf: placed(leaf, "l b s d"), rolled.memory),
        placed(rolled.xt, "i b f h w c"),
        placed(rolled.x0, "i b f h w c"),
    )
    return {"roll": first, "gradient": (*first, rolled), "naive": first}


def latent_bytes(settings: RolloutSettings, items: int, channels: int) -> int:
    """Bytes of one array of all blocks' latents."""
    return 4 * items * settings.blocks * settings.block.frames * settings.height * settings.width * channels


def _roll(settings, dit, embeddings, seeds, exit_call):
    return self_rollout.roll(dit, settings, embeddings, seeds, exit_call)


def _gradient(settings, dit, embeddings, seeds, exit_call, rolled):
    slope = jax.grad(_loss)(rolled.clip)
    return laid_out(self_rollout.gradient(dit, settings, embeddings, seeds, exit_call, rolled, slope))


def _naive(settings, dit, embeddings, seeds, exit_call):
    """One scan over blocks whose body is computed again in the backward pass, as one would write it first."""
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
