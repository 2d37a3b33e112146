"""One block of a rollout, in pieces that sampling and training share.

open_block   flush and evict, then say where the block stands
denoise      calls up to the exit call, each followed by fresh noise for the next
predict_x0   one call; that of the exit call is the block's result
refresh      stores the finished block's keys and values, and counts it
"""

import dataclasses

import jax
import jax.numpy as jnp

from steady_jax.diffusion.flow_matching import FewSteps, add_noise, x0_from_velocity
from steady_jax.memory import base
from steady_jax.memory.base import KVMemory, MemoryPolicy, Reading, SceneChange
from steady_jax.models.wan_dit import DiTConfig, PromptKV, WanDiT
from steady_jax.nn.kv_cache import CacheView, KVCache
from steady_jax.nn.rope import rotation
from steady_jax.shapes import Array, Float, Index, Int, Latents


@dataclasses.dataclass(frozen=True)
class BlockSettings:
    """How blocks are made: the memory's policy, the noise levels of the calls, and latent frames per block."""

    policy: MemoryPolicy
    calls: FewSteps
    frames: int = 6

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"a block has at least 1 latent frame, got {self.frames}")


def empty_memory(dit: WanDiT, settings: BlockSettings, batch: int, height: int, width: int) -> KVMemory:
    """The memory at the start of a rollout of height x width latents."""
    cache = dit.empty_cache(batch, settings.policy.window, height, width)
    return base.empty(cache.k, cache.v)


def cache_of(memory: KVMemory) -> KVCache:
    """The buffer as the network reads it."""
    return KVCache(memory.k, memory.v)


def open_block(
    settings: BlockSettings,
    config: DiTConfig,
    memory: KVMemory,
    height: int,
    width: int,
    change: SceneChange | None = None,
) -> tuple[KVMemory, CacheView]:
    """Makes room for the next block of height x width latents and returns how its calls see the memory.

    Args:
        change: what a scene that begins with this block does to the memory, from the policy's `begin_scene`.
    """
    change = change or base.same_scene()
    memory, evicted = settings.policy.make_room(memory, settings.frames, change)
    reading = settings.policy.read(memory, settings.frames, evicted, change)
    return memory, _view(reading, config.grid(height, width), config.head_width)


def denoise(
    dit: WanDiT,
    settings: BlockSettings,
    memory: KVMemory,
    view: CacheView,
    prompt: PromptKV,
    noise: Float[Array, "calls b f h w c"],
    exit_call: Index,
) -> Latents:
    """Runs the calls before `exit_call` and returns the noisy latents which that call gets.

    Args:
        noise: noise[0] starts the block, noise[i] re-noises the x0 of call i - 1 for call i.
        exit_call: index of the call that will give the result.
    """
    sigmas = jnp.asarray(settings.calls.sigmas)

    def step(call: Index, xt: Latents) -> Latents:
        x0 = predict_x0(dit, settings, memory, view, prompt, xt, call)
        return add_noise(x0, noise[call + 1], sigmas[call + 1])

    return jax.lax.fori_loop(0, exit_call, step, noise[0])


def predict_x0(
    dit: WanDiT,
    settings: BlockSettings,
    memory: KVMemory,
    view: CacheView,
    prompt: PromptKV,
    xt: Latents,
    call: Index,
) -> Latents:
    """One denoise call: the network's x0 for latents at the noise level of `call`. The memory stays as it is."""
    timestep, sigma = jnp.asarray(settings.calls.timesteps)[call], jnp.asarray(settings.calls.sigmas)[call]
    velocity = dit.causal(xt, _per_frame(timestep, xt), prompt, cache_of(memory), view)
    return x0_from_velocity(xt, velocity, sigma)


def refresh(
    dit: WanDiT, settings: BlockSettings, memory: KVMemory, view: CacheView, prompt: PromptKV, x0: Latents
) -> KVMemory:
    """Stores the finished block: one call on its clean latents, whose keys and values are all that memory keeps."""
    timestep = jnp.float32(settings.calls.context_timestep)
    cache = dit.refresh(x0, _per_frame(timestep, x0), prompt, cache_of(memory), view)
    return base.commit(dataclasses.replace(memory, k=cache.k, v=cache.v), settings.frames)


def generate_block(
    dit: WanDiT,
    settings: BlockSettings,
    memory: KVMemory,
    prompt: PromptKV,
    noise: Float[Array, "calls b f h w c"],
    change: SceneChange | None = None,
) -> tuple[KVMemory, Latents]:
    """Makes one block, all calls, and returns the memory after it and the block's latents."""
    last = len(settings.calls.steps) - 1
    memory, view = open_block(settings, dit.config, memory, *noise.shape[3:5], change)
    xt = denoise(dit, settings, memory, view, prompt, noise, last)
    x0 = predict_x0(dit, settings, memory, view, prompt, xt, last)
    return refresh(dit, settings, memory, view, prompt, x0), x0


def store_block(
    dit: WanDiT,
    settings: BlockSettings,
    memory: KVMemory,
    prompt: PromptKV,
    x0: Latents,
    change: SceneChange | None = None,
) -> KVMemory:
    """Takes a block that is there already (of a picture, a clip, an earlier run) into the memory, as if it had been
    made.
    """
    memory, view = open_block(settings, dit.config, memory, *x0.shape[2:4], change)
    return refresh(dit, settings, memory, view, prompt, x0)


def _view(reading: Reading, grid: tuple[int, int], head_width: int) -> CacheView:
    def turn(positions: Int[Array, "f"] | None):
        return None if positions is None else rotation(positions, *grid, head_width)

    start = reading.start * (grid[0] * grid[1])
    return CacheView(start, query=turn(reading.query), stored=turn(reading.stored), read=turn(reading.read))


def _per_frame(timestep: Float[Array, ""], x: Latents) -> Float[Array, "b f"]:
    return jnp.broadcast_to(timestep, x.shape[:2])
