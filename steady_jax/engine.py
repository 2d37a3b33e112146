"""The networks and compiled programs that make videos of one size on one device.

Every program is compiled once and serves every block. Nothing here knows prompts as text, scenes, or files.
"""

import dataclasses
import functools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from steady_jax import block
from steady_jax.block import BlockSettings
from steady_jax.config import ModelConfig
from steady_jax.memory.base import KVMemory, SceneChange
from steady_jax.models.wan_dit import PromptKV, WanDiT
from steady_jax.models.wan_vae import Cache, WanVAE
from steady_jax.pixels import from_uint8, to_uint8
from steady_jax.program import Program
from steady_jax.rollout import block_noise
from steady_jax.shapes import Array, Float, Int, Latents, UInt8, UInt32

Load = Callable[[str], nnx.Module]
HostLatents = Float[np.ndarray, "b f h w c"]
Pixels = UInt8[Array, "b _ height width rgb"]


class Engine:
    """Transformer, VAE and text encoder on one device, and what is compiled of them.

    Networks are loaded when they are first needed. Calls return as soon as the work is queued on the device.
    """

    def __init__(
        self,
        model: ModelConfig,
        load: Load,
        settings: BlockSettings,
        *,
        height: int,
        width: int,
        batch: int = 1,
        weights: str = "",
        device: jax.Device | None = None,
    ) -> None:
        """Loads nothing.

        Args:
            load: network by its name "dit", "vae" or "text_encoder", on any device.
            height, width: of the video, pixels.
            batch: videos that are made in step. It is a part of the shapes, so the same video made in another batch
                differs by roundings.
            weights: tells these weights from others.
            device: where everything is computed; None: JAX's first.
        """
        self.model, self.settings, self.batch = model, settings, batch
        self.height, self.width, self.weights = height, width, weights
        self.device = device or jax.local_devices()[0]
        self._load = load
        self._networks: dict[str, nnx.Module] = {}
        self._loading = threading.Lock()  # engines of several devices load from one
        latents = (settings.frames, *self.latent_size, model.dit.channels)
        self.programs = {  # none of them refers to this object, so that it is freed as soon as nobody uses it
            "encode": Program(lambda encoder, ids, mask: encoder(ids, mask)),
            "encode_prompt": Program(lambda dit, embeddings: dit.encode_prompt(embeddings)),
            "empty_memory": Program(
                lambda dit: block.empty_memory(dit, settings, batch, *latents[1:3]),
                results=jax.sharding.SingleDeviceSharding(self.device),
            ),
            "block": Program(functools.partial(_make_block, settings, latents), donate=[1]),
            "store_block": Program(functools.partial(_store_block, settings), donate=[1]),
            "decode_first": Program(_decode_first),
            "decode_next": Program(_decode_next, donate=[2]),
            "encode_first": Program(_encode_first),
            "encode_next": Program(_encode_next, donate=[2]),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What decides, beside prompt and seed, which frames come out, in words and numbers."""
        policy = self.settings.policy
        described = {
            "weights": self.weights,
            "height": self.height,
            "width": self.width,
            "batch": self.batch,
            "policy": type(policy).__name__,
            "memory": dataclasses.asdict(policy),
            "block_frames": self.settings.frames,
            "calls": dataclasses.asdict(self.settings.calls),
            "dit": dataclasses.asdict(self.model.dit),
            "vae": dataclasses.asdict(self.model.vae),
        }
        return json.loads(json.dumps(described))  # as it comes back from a file: tuples are lists

    @property
    def latent_size(self) -> tuple[int, int]:
        """Rows and columns of latents."""
        stride = self.model.vae.spatial_stride
        return self.height // stride, self.width // stride

    def network(self, name: str) -> nnx.Module:
        """The network of this name, loaded at the first call."""
        with self._loading:
            if name not in self._networks:
                self._networks[name] = jax.device_put(self._load(name), self.device)
            return self._networks[name]

    def release(self, name: str) -> None:
        """Frees a network's memory; it is loaded again when it is needed again."""
        self._networks.pop(name, None)

    def encode(self, ids: Int[np.ndarray, "1 t"], mask: Int[np.ndarray, "1 t"]) -> Float[Array, "1 t c"]:
        """Text embeddings of one tokenized prompt, zero beyond its length."""
        return self.programs["encode"](self.network("text_encoder"), ids, mask)

    def encode_prompt(self, embeddings: Float[np.ndarray, "b t c"]) -> PromptKV:
        """Cross-attention keys and values of the batch's prompts."""
        embeddings = np.asarray(embeddings).astype(self.model.dit.dtype)
        return self.programs["encode_prompt"](self.network("dit"), embeddings)

    def empty_memory(self) -> KVMemory:
        """The memory at the start of a video."""
        return self.programs["empty_memory"](self.network("dit"))

    def abstract_state(self) -> tuple[KVMemory, Cache]:
        """Shapes of the memory and of the VAE's cache between two blocks."""
        rows, columns = self.latent_size
        empty = functools.partial(
            block.empty_memory, settings=self.settings, batch=self.batch, height=rows, width=columns
        )
        memory = jax.eval_shape(empty, self.network("dit"))
        return memory, self.network("vae").abstract_cache(self.batch, rows, columns)

    def make_block(
        self, memory: KVMemory, prompt: PromptKV, seeds: UInt32[np.ndarray, "b"], change: SceneChange
    ) -> tuple[KVMemory, Latents]:
        """Makes the next block. The memory that is given is used up."""
        return self.programs["block"](self.network("dit"), memory, prompt, seeds, jax.device_get(change))

    def store_block(
        self, memory: KVMemory, prompt: PromptKV, latents: HostLatents | Latents, change: SceneChange
    ) -> KVMemory:
        """Takes a block that is there already into the memory. The memory that is given is used up."""
        return self.programs["store_block"](self.network("dit"), memory, prompt, latents, jax.device_get(change))

    def decode(self, latents: Latents, cache: Cache | None) -> tuple[list[Pixels], Cache]:
        """Pixel frames of a block's latents, one array per latent frame.

        Args:
            cache: from the block before, used up; None for the first block of a video.
        """
        pixels, vae = [], self.network("vae")
        for latent in latents.swapaxes(0, 1):
            if cache is None:
                frames, cache = self.programs["decode_first"](vae, latent)
            else:
                frames, cache = self.programs["decode_next"](vae, latent, cache)
            pixels.append(frames)
        return pixels, cache

    def encode_frames(self, frames: Iterable[UInt8[np.ndarray, "h w rgb"]]) -> Iterator[Float[np.ndarray, "1 h w c"]]:
        """Latent frames of a clip of 1 + 4k frames, one after another: nothing grows with the clip's length."""
        vae, cache, waiting = self.network("vae"), None, []
        for frame in frames:
            waiting.append(frame)
            if cache is None:
                latent, cache = self.programs["encode_first"](vae, frame[None])
            elif len(waiting) == self.model.vae.temporal_stride:
                latent, cache = self.programs["encode_next"](vae, np.stack(waiting)[None], cache)
            else:
                continue
            waiting = []
            yield np.asarray(latent)


def to_host(frames: Iterable[Pixels]) -> UInt8[np.ndarray, "b _ height width rgb"]:
    """Waits for the frames of `Engine.decode` and brings them to the host."""
    return np.concatenate([np.asarray(part) for part in frames], axis=1)


def _make_block(
    settings: BlockSettings,
    latents: tuple[int, int, int, int],
    dit: WanDiT,
    memory: KVMemory,
    prompt: PromptKV,
    seeds: UInt32[Array, "b"],
    change: SceneChange,
) -> tuple[KVMemory, Latents]:
    noise = block_noise(seeds, len(settings.calls.steps), latents)
    return block.generate_block(dit, settings, memory, prompt, noise(memory.block), change)


def _store_block(
    settings: BlockSettings, dit: WanDiT, memory: KVMemory, prompt: PromptKV, latents: Latents, change: SceneChange
) -> KVMemory:
    return block.store_block(dit, settings, memory, prompt, latents, change)


def _decode_first(vae: WanVAE, latent: Float[Array, "b h w c"]) -> tuple[Pixels, Cache]:
    pixels, cache = vae.decode_first(latent)
    return to_uint8(pixels), cache


def _decode_next(vae: WanVAE, latent: Float[Array, "b h w c"], cache: Cache) -> tuple[Pixels, Cache]:
    pixels, cache = vae.decode_next(latent, cache)
    return to_uint8(pixels), cache


def _encode_first(vae: WanVAE, frame: UInt8[Array, "b height width rgb"]) -> tuple[Float[Array, "b h w c"], Cache]:
    return vae.encode_first(from_uint8(frame))


def _encode_next(
    vae: WanVAE, frames: UInt8[Array, "b f height width rgb"], cache: Cache
) -> tuple[Float[Array, "b h w c"], Cache]:
    return vae.encode_next(from_uint8(frames), cache)
