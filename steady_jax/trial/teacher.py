"""Videos of a teacher: many calls with guidance, all frames at once."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from steady_jax import checkpoint
from steady_jax.checkpoint import Checkpoint
from steady_jax.diffusion import ode
from steady_jax.diffusion.ode import ODE
from steady_jax.models.umt5 import UMT5Config, UMT5Encoder
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.shapes import Array, Float, Latents, UInt8
from steady_jax.text import Tokenizer
from steady_jax.train.encoders import latents_to_clip
from steady_jax.train.stages.teacher import guided_velocity
from steady_jax.trial.sources import Asked, Made

PARTS = ("dit", "text_encoder", "tokenizer")


class TeacherVideos:
    """A teacher with its text encoder, and the VAE that shows what it makes. Parameters are read at the first call."""

    def __init__(self, folder: str, vae: WanVAE, settings: ODE, height: int, width: int) -> None:
        """Args:
            folder: of the teacher's checkpoint.
            vae: of the latents that the teacher makes.
            height, width: of the videos, pixels.
        Raises:
            ValueError: the folder is no checkpoint, or its latents are not those of the VAE.
        """
        found = checkpoint.describe(folder, PARTS)
        if (channels := found.parts["dit"].sizes["channels"]) != vae.config.channels:
            raise ValueError(
                f"the teacher {folder} makes latents of {channels} channels, the student's VAE has "
                f"{vae.config.channels}; name the teacher that the student was distilled from"
            )
        stride = vae.config.spatial_stride
        self.vae, self._settings, self._found = vae, settings, found
        self._size = (height // stride, width // stride, channels)

    def __call__(self, asked: Asked) -> Made:
        """Videos of the seconds that are asked for and one frame; of whole latents, so up to three frames shorter."""
        frames = round(asked.seconds * FRAMES_PER_SECOND) // self.vae.config.temporal_stride + 1
        keys = jax.vmap(jax.random.key)(jnp.asarray(asked.seeds, jnp.uint32))
        noise = jax.vmap(lambda key: jax.random.normal(key, (frames, *self._size)))(keys)
        latents = self._sample(self._dit, noise, self._embeddings(asked.prompts), self._embeddings([""]))
        return Made(np.stack([np.asarray(self._decode(self.vae, one[None]))[0] for one in latents]))

    @functools.cached_property
    def _dit(self) -> WanDiT:
        return _network(self._found, "dit", WanDiT, DiTConfig)

    @functools.cached_property
    def _text_encoder(self) -> UMT5Encoder:
        return _network(self._found, "text_encoder", UMT5Encoder, UMT5Config)

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_folder(self._found.tokenizer, self._dit.config.text_length)

    def _embeddings(self, prompts: Sequence[str]) -> Float[Array, "b t c"]:
        return self._text_encoder(*map(jnp.asarray, self._tokenizer.encode(prompts, allow_empty=True)))

    @functools.cached_property
    def _sample(self) -> Callable[..., Latents]:
        return jax.jit(functools.partial(_sampled, self._settings))

    @functools.cached_property
    def _decode(self) -> Callable[..., UInt8[Array, "b f h w 3"]]:
        return jax.jit(latents_to_clip)


def _network(found: Checkpoint, name: str, network: type[nnx.Module], config: type) -> nnx.Module:
    sizes = found.parts[name].config(config, dtype="float32")
    return checkpoint.load_component(found.folder, name, network, sizes, dtype=jnp.float32)


def _sampled(
    settings: ODE, dit: WanDiT, noise: Latents, own: Float[Array, "b t e"], negative: Float[Array, "1 t e"]
) -> Latents:
    return ode.sample(guided_velocity(dit, own, negative, settings.guidance), noise, settings)
