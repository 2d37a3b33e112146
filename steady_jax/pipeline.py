"""A prompt becomes a video: what a Python user imports.

pipeline = SteadyPipeline.from_checkpoint("checkpoints/steady-1.3b")
for frames in pipeline.stream("Waves roll onto a black beach, fixed camera.", seconds=30):
    ...  # uint8 [f, h, w, 3], one block after the other
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from steady_jax import checkpoint, parameters
from steady_jax.block import BlockSettings, empty_memory, generate_block
from steady_jax.config import MODELS, ModelConfig, block_settings, known
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.base import KVMemory
from steady_jax.memory.steady import Steady
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import PromptKV, WanDiT
from steady_jax.models.wan_vae import Cache, WanVAE
from steady_jax.nn.attention import check_runs_here
from steady_jax.program import Program
from steady_jax.rollout import block_noise
from steady_jax.shapes import Array, Float, Latents, UInt8, UInt32
from steady_jax.text import ByteTokenizer, PromptTokenizer, Tokenizer

FRAMES_PER_SECOND = 16
MOST_FRAMES = 2**31 - 1
NETWORKS: dict[str, type[nnx.Module]] = {"dit": WanDiT, "vae": WanVAE, "text_encoder": UMT5Encoder}

Load = Callable[[str], nnx.Module]
Embeddings = Float[Array, "b t c"] | Float[np.ndarray, "b t c"]


class SteadyPipeline:
    """Tokenizer, text encoder, transformer and VAE for videos of one size. Networks are loaded when they are first
    needed.

    Memory on the device does not depend on the length of a video: a block's latents, the key/value memory and the VAE's
        cache are all there is. The text encoder, by far the largest network, can be released once prompts are encoded.
    """

    def __init__(
        self,
        model: ModelConfig,
        load: Load,
        tokenizer: PromptTokenizer,
        settings: BlockSettings,
        *,
        height: int = 480,
        width: int = 832,
    ) -> None:
        """Checks that everything fits; loads nothing.

        Args:
            load: network by its name "dit", "vae" or "text_encoder".
            height, width: of the video, pixels.
        Raises:
            ValueError: a size that is no multiple of the networks' stride, or settings that do not fit each other.
        """
        _check_size(height, width, model.pixel_stride)
        if tokenizer.vocabulary > model.text_encoder.vocabulary:
            raise ValueError(
                f"the text encoder needs a row for every piece of the tokenizer, got "
                f"{model.text_encoder.vocabulary} rows and {tokenizer.vocabulary} pieces; take both from the same model"
            )
        check_runs_here(model.dit.attention, model.dit.dtype)
        settings.policy.check(settings.frames, blocks=1)
        self.model, self.settings, self.tokenizer = model, settings, tokenizer
        self.height, self.width = height, width
        self._load = load
        self._networks: dict[str, nnx.Module] = {}
        latents = (settings.frames, *self.latent_size, model.dit.channels)
        self.programs = {  # none of them refers to this object, so that it is freed as soon as nobody uses it
            "encode": Program(lambda encoder, ids, mask: encoder(ids, mask)),
            "encode_prompt": Program(lambda dit, embeddings: dit.encode_prompt(embeddings)),
            "empty_memory": Program(lambda dit: empty_memory(dit, settings, 1, *latents[1:3])),
            "block": Program(functools.partial(_make_block, settings, latents), donate=[1]),
            "decode_first": Program(_decode_first),
            "decode_next": Program(_decode_next, donate=[2]),
        }

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        settings: BlockSettings | None = None,
        *,
        height: int = 480,
        width: int = 832,
        dtype: str = "bfloat16",
        attention: str = "auto",
        model: ModelConfig | None = None,
    ) -> "SteadyPipeline":
        """Opens a folder made by `scripts/convert.py`; sizes come from the folder.

        Args:
            settings: how blocks are made; the default is the published `steady` memory with 6 frames per block.
            dtype: of parameters and matrix products, "bfloat16" or "float32".
            attention: backend, see `steady_jax.nn.attention`.
            model: sizes that the checkpoint must have, if the caller relies on them.
        Raises:
            ValueError: the folder is incomplete, or its sizes are not those of `model`.
        """
        found = checkpoint.describe(path)
        stored = ModelConfig.from_checkpoint(found, dtype=dtype, attention=attention)
        if model is not None:
            for name in NETWORKS:
                checkpoint.check_sizes(found.parts[name], getattr(model, name), path)
        tokenizer = Tokenizer.from_folder(found.tokenizer, stored.dit.text_length)

        def load(name: str) -> nnx.Module:
            config = getattr(stored, name)
            return checkpoint.load_component(path, name, NETWORKS[name], config, dtype=jnp.dtype(dtype))

        return cls(stored, load, tokenizer, settings or BlockSettings(Steady(), FewSteps()), height=height, width=width)

    @classmethod
    def from_random(
        cls,
        model: ModelConfig,
        settings: BlockSettings,
        tokenizer: PromptTokenizer,
        *,
        height: int = 480,
        width: int = 832,
        seed: int = 0,
    ) -> "SteadyPipeline":
        """Random weights: the video is noise, but everything runs as it would. For trying out, tests and benchmarks."""

        def load(name: str) -> nnx.Module:
            config = getattr(model, name)
            return parameters.random(NETWORKS[name], config, seed=seed, dtype=jnp.dtype(config.dtype))

        return cls(model, load, tokenizer, settings, height=height, width=width)

    @classmethod
    def from_config(cls, config: ConfigDict) -> "SteadyPipeline":
        """The pipeline of a sampling config: of its checkpoint, or of random weights where it has none.

        Raises:
            ValueError: unknown names, settings that do not fit, or a checkpoint of other sizes than the config's model.
        """
        settings, model = block_settings(config), known(config.model, MODELS, "model")
        size = {"height": config.height, "width": config.width}
        if config.checkpoint is not None:
            runtime = {"dtype": config.dtype, "attention": config.attention}
            return cls.from_checkpoint(config.checkpoint, settings, model=model, **runtime, **size)
        model = model.computing_in(config.dtype, config.attention)
        return cls.from_random(model, settings, ByteTokenizer(model.dit.text_length), **size)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Rows and columns of latents."""
        stride = self.model.vae.spatial_stride
        return self.height // stride, self.width // stride

    def encode(self, prompt: str) -> Float[Array, "1 t c"]:
        """Text embeddings of a prompt, zero beyond its length.

        Raises:
            ValueError: the prompt is empty.
        """
        ids, mask = self.tokenizer.encode([prompt])
        return self.programs["encode"](self.network("text_encoder"), ids, mask)

    def release_text_encoder(self) -> None:
        """Frees the text encoder's memory; it is loaded again when the next prompt is encoded."""
        self._networks.pop("text_encoder", None)

    def stream(
        self, prompt: str | Embeddings, seconds: float, seed: int = 0
    ) -> Iterator[UInt8[np.ndarray, "f h w rgb"]]:
        """Makes a video and yields its frames block by block, 16 per second. While the caller uses one block, the next
        is made.

        Args:
            prompt: text, or embeddings from `encode`.
            seconds: length; exactly round(16 * seconds) frames come out.
            seed: 0..2^32-1; the same seed gives the same video.
        Raises:
            ValueError: seconds that make no frame, a seed out of range, an empty prompt, or a length beyond what the
                memory policy can do. All are raised before anything is computed.
        """
        frames = pixel_frames(seconds)
        blocks = blocks_for(frames, self.settings.frames, self.model.vae.temporal_stride)
        self.settings.policy.check(self.settings.frames, blocks)
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must lie in 0..{2**32 - 1}, got {seed}")
        if isinstance(prompt, str):
            self.tokenizer.encode([prompt])  # an empty prompt is refused here, before the text encoder is loaded
        elif prompt.shape != (1, self.model.dit.text_length, self.model.dit.text_width):
            wanted = [1, self.model.dit.text_length, self.model.dit.text_width]
            raise ValueError(f"embeddings must be {wanted}, as `encode` returns them, got {list(prompt.shape)}")
        return self._frames(prompt, seed, blocks, frames)

    def __call__(self, prompt: str | Embeddings, seconds: float, seed: int = 0) -> UInt8[np.ndarray, "f h w rgb"]:
        """Makes a video and returns all its frames at once; arguments as in `stream`."""
        return np.concatenate(list(self.stream(prompt, seconds, seed)))

    def rollout(self, prompt: str | Embeddings, seed: int = 0) -> "VideoRollout":
        """A video in the making, block by block and without end; `stream` is the way to frames of a given length."""
        self.settings.policy.check(self.settings.frames, blocks=None)
        return self._rollout(prompt, seed)

    def network(self, name: str) -> nnx.Module:
        """The network of this name ("dit", "vae" or "text_encoder"), loaded at the first call."""
        if name not in self._networks:
            self._networks[name] = self._load(name)
        return self._networks[name]

    def _rollout(self, prompt: str | Embeddings, seed: int) -> "VideoRollout":
        embeddings = self.encode(prompt) if isinstance(prompt, str) else prompt
        return VideoRollout(self, jnp.asarray(embeddings, self.model.dit.dtype), seed)

    def _frames(
        self, prompt: str | Embeddings, seed: int, blocks: int, frames: int
    ) -> Iterator[UInt8[np.ndarray, "f h w rgb"]]:
        """The first `frames` frames of a video. The device makes one block while the caller has the one before it."""
        rollout = self._rollout(prompt, seed)
        waiting = rollout.decode(rollout.next_latents())
        for _ in range(blocks - 1):
            following = rollout.decode(rollout.next_latents())
            block = _to_host(waiting)
            yield block
            frames -= len(block)
            waiting = following
        yield _to_host(waiting)[:frames]


class VideoRollout:
    """One video in the making: the state between blocks, on the device. Calls return as soon as the work is queued
    there.
    """

    def __init__(self, pipeline: SteadyPipeline, embeddings: Float[Array, "1 t c"], seed: int) -> None:
        self._programs = pipeline.programs
        self._dit, self._vae = pipeline.network("dit"), pipeline.network("vae")
        self._seeds = np.array([seed], np.uint32)
        self._prompt = self._programs["encode_prompt"](self._dit, embeddings)
        self._memory = self._programs["empty_memory"](self._dit)
        self._cache: Cache | None = None  # of the VAE; None before the first frame

    def next_latents(self) -> Latents:
        """Makes the next block."""
        self._memory, latents = self._programs["block"](self._dit, self._memory, self._prompt, self._seeds)
        return latents

    def decode(self, latents: Latents) -> list[UInt8[Array, "1 _ height width rgb"]]:
        """Pixel frames of a block's latents, one array per latent frame. Blocks must come in their order, each once."""
        return [self._decode_frame(latent) for latent in latents.swapaxes(0, 1)]

    def _decode_frame(self, latent: Float[Array, "1 h w c"]) -> UInt8[Array, "1 _ height width rgb"]:
        if self._cache is None:
            pixels, self._cache = self._programs["decode_first"](self._vae, latent)
        else:
            pixels, self._cache = self._programs["decode_next"](self._vae, latent, self._cache)
        return pixels


def _make_block(
    settings: BlockSettings,
    latents: tuple[int, int, int, int],
    dit: WanDiT,
    memory: KVMemory,
    prompt: PromptKV,
    seeds: UInt32[Array, "b"],
) -> tuple[KVMemory, Latents]:
    noise = block_noise(seeds, len(settings.calls.steps), latents)
    return generate_block(dit, settings, memory, prompt, noise(memory.block))


def pixel_frames(seconds: float) -> int:
    """Frames of a video of this length.

    Raises:
        ValueError: not even one frame.
    """
    if not math.isfinite(seconds) or round(FRAMES_PER_SECOND * seconds) < 1:
        raise ValueError(
            f"seconds must be positive and make at least one frame (1/{FRAMES_PER_SECOND} s), got {seconds}"
        )
    if FRAMES_PER_SECOND * seconds > MOST_FRAMES:
        raise ValueError(
            f"seconds must make at most {MOST_FRAMES} frames (frames are counted in 32 bits), got {seconds}"
        )
    return round(FRAMES_PER_SECOND * seconds)


def blocks_for(frames: int, block_frames: int, temporal_stride: int) -> int:
    """Blocks that decode to at least `frames` pixel frames: the first latent frame gives 1, each other one a stride."""
    return math.ceil((frames + temporal_stride - 1) / (temporal_stride * block_frames))


def _decode_first(vae: WanVAE, latent: Float[Array, "b h w c"]) -> tuple[UInt8[Array, "b f height width rgb"], Cache]:
    pixels, cache = vae.decode_first(latent)
    return _to_uint8(pixels), cache


def _decode_next(
    vae: WanVAE, latent: Float[Array, "b h w c"], cache: Cache
) -> tuple[UInt8[Array, "b f height width rgb"], Cache]:
    pixels, cache = vae.decode_next(latent, cache)
    return _to_uint8(pixels), cache


def _to_uint8(pixels: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    return jnp.round((jnp.clip(pixels.astype(jnp.float32), -1, 1) + 1) * 127.5).astype(jnp.uint8)


def _to_host(frames: Sequence[Array]) -> UInt8[np.ndarray, "f h w rgb"]:
    return np.concatenate([np.asarray(part)[0] for part in frames])


def _check_size(height: int, width: int, stride: int) -> None:
    if height < stride or width < stride or height % stride or width % stride:
        nearest = [max(stride, round(size / stride) * stride) for size in (height, width)]
        raise ValueError(
            f"height and width must be multiples of {stride} pixels, got {height}x{width}; "
            f"the nearest size is {nearest[0]}x{nearest[1]}"
        )
