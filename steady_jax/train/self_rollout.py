"""The student's rollout in training, and the gradient through it, in two passes.

The memory carries no gradient, so a gradient passes through one network call per block: the exit call. Differentiating
a scan over blocks would still save the memory once per block. Instead:

(1) `roll` makes the blocks without gradient and keeps, of each block that counts, what the exit call got (x_t) and what
    it gave (x0);
(2) a loss is computed on x0, and its derivative g = dL/dx0;
(3) `gradient` goes over the blocks again. It builds the memory from the kept x0 by make-room and refresh, takes the
    vector-Jacobian product of the block's exit call with g, and adds it to a sum that travels along.

This is exact for every memory policy. What is held at once does not grow with blocks times memory.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from einops import rearrange

from steady_jax import block
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import add_noise
from steady_jax.memory.base import KVMemory
from steady_jax.models.wan_dit import PromptKV, WanDiT
from steady_jax.parallel import constrain
from steady_jax.rollout import block_noise, draw
from steady_jax.shapes import Array, Float, Index, Latents, UInt32
from steady_jax.train.networks import laid_out


@dataclasses.dataclass(frozen=True)
class RolloutSettings:
    """How a student rolls out in training."""

    block: BlockSettings
    blocks: int  # of the whole rollout
    counted: int  # of them, the last ones: they are scored
    height: int  # rows of latents
    width: int
    # noise level at which a finished block is stored: 0 as in sampling; the published training takes .00498
    context_sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.counted <= self.blocks:
            raise ValueError(
                f"1 <= counted blocks <= blocks must hold, got {self.counted} of {self.blocks}; "
                "raise rollout_frames or lower clip_frames"
            )
        if not 0 <= self.context_sigma < 1:
            raise ValueError(f"context_sigma must lie in 0..1, below 1, got {self.context_sigma}")
        self.block.policy.check(self.block.frames, self.blocks)

    @property
    def calls(self) -> int:
        """Denoise calls of a block, any of which may be the exit."""
        return len(self.block.calls.steps)


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rolled:
    """A rollout, and what its gradient needs of it. i counts blocks."""

    before: Float[Array, "b f h w c"]  # latents before the counted blocks; no frames where all are counted
    memory: KVMemory  # before the first counted block
    xt: Float[Array, "i b f h w c"]  # of each counted block, what its exit call got
    x0: Float[Array, "i b f h w c"]  # and what it gave

    @property
    def clip(self) -> Latents:
        """The counted blocks as one clip."""
        return joined(self.x0)


def roll(
    dit: WanDiT,
    settings: RolloutSettings,
    embeddings: Float[Array, "b t e"],
    seeds: UInt32[Array, "b"],
    exit_call: Index,
) -> Rolled:
    """The first pass: makes all blocks without gradient.

    Args:
        embeddings: of the prompts.
        seeds: of each item's noise.
        exit_call: the call that gives every block's result.
    """
    dit = jax.lax.stop_gradient(dit)
    prompt = dit.encode_prompt(embeddings)
    shape = (settings.block.frames, settings.height, settings.width, dit.config.channels)
    noise = block_noise(seeds, settings.calls, shape)

    def one_block(memory: KVMemory, _: None) -> tuple[KVMemory, tuple[Latents, Latents]]:
        index = memory.block
        memory, view = block.open_block(settings.block, dit.config, memory, settings.height, settings.width)
        calls = constrain(noise(index), "i b f h w c")
        xt = block.denoise(dit, settings.block, memory, view, prompt, calls, exit_call)
        x0 = block.predict_x0(dit, settings.block, memory, view, prompt, xt, exit_call)
        xt, x0 = (constrain(latents, "b f h w c") for latents in (xt, x0))
        context = stored(settings, x0, seeds, index)
        return block.refresh(dit, settings.block, memory, view, prompt, context), (xt, x0)

    memory = block.empty_memory(dit, settings.block, seeds.shape[0], settings.height, settings.width)
    memory, (_, before) = jax.lax.scan(one_block, memory, length=settings.blocks - settings.counted)
    _, (xt, x0) = jax.lax.scan(one_block, memory, length=settings.counted)
    return Rolled(joined(before), memory, xt, x0)


def gradient(
    dit: WanDiT,
    settings: RolloutSettings,
    embeddings: Float[Array, "b t e"],
    seeds: UInt32[Array, "b"],
    exit_call: Index,
    rolled: Rolled,
    slope: Latents,
) -> WanDiT:
    """The second pass: the gradient by the weights, float32.

    Args:
        embeddings, seeds, exit_call: as given to `roll`.
        rolled: what it returned.
        slope: derivative of the loss by `rolled.clip`.
    """
    frozen = jax.lax.stop_gradient(dit)
    prompt = frozen.encode_prompt(embeddings)

    def one_block(
        carry: tuple[KVMemory, WanDiT, PromptKV], xs: tuple[Latents, Latents, Latents]
    ) -> tuple[tuple[KVMemory, WanDiT, PromptKV], None]:
        (memory, by_dit, by_prompt), (xt, x0, slope) = carry, xs
        index = memory.block
        memory, view = block.open_block(settings.block, dit.config, memory, settings.height, settings.width)

        def exit_call_of(dit: WanDiT, prompt: PromptKV) -> Latents:
            return block.predict_x0(dit, settings.block, memory, view, prompt, xt, exit_call)

        _, pull_back = jax.vjp(exit_call_of, dit, prompt)
        more_by_dit, more_by_prompt = pull_back(slope)
        context = stored(settings, x0, seeds, index)
        memory = block.refresh(frozen, settings.block, memory, view, prompt, context)
        return (memory, laid_out(_sum(by_dit, more_by_dit)), _sum(by_prompt, more_by_prompt)), None

    start = (rolled.memory, laid_out(_zeros(dit)), _zeros(prompt))
    (_, by_dit, by_prompt), _ = jax.lax.scan(one_block, start, (rolled.xt, rolled.x0, cut(slope, settings.counted)))
    # all blocks read the same prompt keys and values, so the way back through them is gone once
    _, pull_back = jax.vjp(lambda dit: dit.encode_prompt(embeddings), dit)
    (through_prompt,) = pull_back(jax.tree.map(lambda slope, like: slope.astype(like.dtype), by_prompt, prompt))
    return _sum(by_dit, through_prompt)


def stored(settings: RolloutSettings, x0: Latents, seeds: UInt32[Array, "b"], index: Index) -> Latents:
    """The latents on which a finished block is stored: x0, or x0 with a little noise of its own."""
    if settings.context_sigma == 0:
        return x0
    noise = draw(seeds, index, settings.calls, x0.shape[1:])
    return add_noise(x0, noise, jnp.float32(settings.context_sigma))


def joined(blocks: Float[Array, "i b f h w c"]) -> Float[Array, "b _ h w c"]:
    """Blocks as one clip."""
    return rearrange(blocks, "i b f h w c -> b (i f) h w c")


def cut(clip: Latents, blocks: int) -> Float[Array, "i b _ h w c"]:
    """A clip as blocks."""
    return rearrange(clip, "b (i f) h w c -> i b f h w c", i=blocks)


def _zeros(like: typing.Any) -> typing.Any:
    # float32 whatever is added: a sum over many blocks would lose its tail in 16 bits
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), like)


def _sum(total: typing.Any, more: typing.Any) -> typing.Any:
    return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), total, more)
