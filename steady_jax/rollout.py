"""A rollout: blocks made one after the other, the memory carried through `lax.scan`.

Noise belongs to (seed of the item, block, call) and to nothing else, so a rollout can be split, resumed or batched in
any way.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange

from steady_jax.block import BlockSettings, generate_block
from steady_jax.memory.base import KVMemory, SceneChange, same_scene
from steady_jax.models.wan_dit import PromptKV, WanDiT
from steady_jax.shapes import Array, Bool, Float, Index, Int, Latents, UInt32

BlockNoise = Callable[[Int[Array, ""]], Float[Array, "calls b f h w c"]]


def draw(seeds: UInt32[Array, "b"], block: Index, call: Index, shape: tuple[int, int, int, int]) -> Latents:
    """Standard normal noise [b, *shape] of one denoise call; each item's depends on its own seed alone."""

    def of_item(seed: UInt32[Array, ""]) -> Float[Array, "f h w c"]:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), block), call), shape)

    # the barrier keeps the compiler from computing noise anew, and with other roundings, where it is used
    return jax.lax.optimization_barrier(jax.vmap(of_item)(seeds))


def block_noise(seeds: UInt32[Array, "b"], calls: int, shape: tuple[int, int, int, int]) -> BlockNoise:
    """The noise of all denoise calls of a block, as a function of the block's index; shape is [f, h, w, c] of one
    item's block.
    """
    return lambda block: jnp.stack([draw(seeds, block, call, shape) for call in range(calls)])


def rollout(
    dit: WanDiT,
    settings: BlockSettings,
    memory: KVMemory,
    prompt: PromptKV,
    noise: BlockNoise,
    blocks: int,
    change: SceneChange | None = None,
) -> tuple[KVMemory, Latents]:
    """Makes `blocks` more blocks under one prompt.

    Args:
        memory: where to go on from; `block.empty_memory` starts a video.
        prompt: cross-attention keys and values, from `WanDiT.encode_prompt`.
        noise: gives the noise of a block from its index, see `block_noise`.
        change: what a scene that begins with the first of these blocks does to the memory.
    Returns: the memory after the last block, and the latents of all blocks [b, blocks * f, h, w, c].
    """

    change = change or same_scene()

    def one_block(memory: KVMemory, is_first: Bool[Array, ""]) -> tuple[KVMemory, Latents]:
        now = jax.tree.map(lambda flag: flag & is_first, change)
        return generate_block(dit, settings, memory, prompt, noise(memory.block), now)

    memory, latents = jax.lax.scan(one_block, memory, jnp.arange(blocks) == 0)
    return memory, rearrange(latents, "i b f h w c -> b (i f) h w c")
