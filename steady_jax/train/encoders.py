"""Frozen networks between the data and a stage: prompts to embeddings, clips to latents and back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from steady_jax import parallel
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_vae import WanVAE
from steady_jax.pixels import from_uint8, to_uint8
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, Latents, UInt8
from steady_jax.text import PromptTokenizer
from steady_jax.train.networks import Network, whole

Batch = Mapping[str, Array]
BY_ITEM = ("encode", "clip_to_latents", "latents_to_clip")  # programs whose results are cut over items


class Frozen:
    """Networks that are not trained, loaded onto the mesh when they are first needed."""

    def __init__(self, networks: Mapping[str, Network], mesh: Mesh) -> None:
        """Checks their folders; loads nothing.

        Raises:
            ValueError: a folder lacks its network, or has it in other sizes.
        """
        for network in networks.values():
            network.check()
        self.networks, self.mesh = networks, mesh
        self._loaded: dict[str, nnx.Module] = {}

    def __getitem__(self, name: str) -> nnx.Module:
        if name not in self._loaded:
            self._loaded[name] = self.networks[name].load(self.mesh)
        return self._loaded[name]

    def __contains__(self, name: str) -> bool:
        return name in self.networks

    def is_loaded(self, name: str) -> bool:
        """Whether a network lies on the devices."""
        return name in self._loaded

    def release(self, name: str) -> None:
        """Frees a network's memory; it is loaded again when it is needed again."""
        self._loaded.pop(name, None)


class Encoders:
    """Batches as a stage wants them, whatever the data holds."""

    def __init__(self, frozen: Frozen, tokenizer: PromptTokenizer | None) -> None:
        """Args: networks with "text_encoder" and "vae" where the data needs them; the tokenizer of the former."""
        self._frozen, self._tokenizer, self.mesh = frozen, tokenizer, frozen.mesh
        self._known: dict[str, np.ndarray] = {}  # embeddings of single prompts
        self.programs: dict[str, Program] = {}

    def embeddings(self, batch: Batch) -> Float[Array, "b t c"]:
        """Of the batch's prompts: as the data has them, or encoded from "ids" and "mask".

        Raises:
            ValueError: the batch has neither, or there is no text encoder.
        """
        if "embeddings" in batch:
            return batch["embeddings"]
        _need(batch, "ids", "embeddings")
        return self._run("encode", _encode, "text_encoder", batch["ids"], batch["mask"])

    def latents(self, batch: Batch) -> Latents:
        """Of the batch's clips: as the data has them, or encoded from "pixels".

        Raises:
            ValueError: the batch has neither, or there is no VAE.
        """
        if "latents" in batch:
            return batch["latents"].astype(jnp.float32)
        _need(batch, "pixels", "latents")
        return self._run("clip_to_latents", clip_to_latents, "vae", batch["pixels"])

    def pixels(self, latents: Latents) -> UInt8[Array, "b _ height width rgb"]:
        """Frames of clips of latents."""
        return self._run("latents_to_clip", latents_to_clip, "vae", latents)

    def videos(self, prompts: Sequence[str], latents: Latents) -> dict[str, UInt8[np.ndarray, "_ height width rgb"]]:
        """Frames of one clip per prompt, by names made of the prompts; clips beyond the prompts are left out."""
        frames = np.asarray(self._run("samples_to_clip", latents_to_clip, "vae", latents))
        return {sample_name(index, prompt): frames[index] for index, prompt in enumerate(prompts)}

    def of_prompts(self, prompts: Sequence[str]) -> Float[np.ndarray, "b t c"]:
        """Embeddings of some prompts, on the host; "" is allowed, as what guidance steers away from.

        They are made once each. A text encoder that only this call needs is not kept on the devices.
        """
        if self._tokenizer is None:
            raise ValueError("prompts need a tokenizer: name a checkpoint folder with config.text_encoder")
        was_loaded = self._frozen.is_loaded("text_encoder")
        for prompt in prompts:
            if prompt not in self._known:
                ids, mask = self._tokenizer.encode([prompt], allow_empty=True)
                made = self._run("encode_one", _encode, "text_encoder", ids, mask)
                self._known[prompt] = np.asarray(made.astype(jnp.float32))
        if not was_loaded:
            self._frozen.release("text_encoder")
        return np.concatenate([self._known[prompt] for prompt in prompts])

    def _run(self, program: str, function: Any, network: str, *args: Any) -> Any:
        if network not in self._frozen:
            raise ValueError(f"the data needs the network {network!r}: name a checkpoint folder with config.{network}")
        if program not in self.programs:
            few = program not in BY_ITEM  # single prompts do not divide by the devices, and samples go to the host
            place = parallel.replicated(self.mesh) if few else parallel.batch_sharding(self.mesh)
            self.programs[program] = Program(function, results=place)
        return self.programs[program](self._frozen[network], *args)


def clip_to_latents(vae: WanVAE, pixels: UInt8[Array, "b f height width rgb"]) -> Float[Array, "b _ _ _ c"]:
    """Latents of clips of 1 + 4k frames."""
    return whole(vae).encode(from_uint8(pixels))


def latents_to_clip(vae: WanVAE, latents: Latents) -> UInt8[Array, "b _ height width rgb"]:
    """Frames of clips of latents."""
    return to_uint8(whole(vae).decode(latents))


def sample_name(index: int, prompt: str) -> str:
    """The name of a prompt's sample: its number and first words."""
    return "-".join([str(index), *re.findall(r"[a-z0-9]+", prompt.lower())[:6]])


def _encode(encoder: UMT5Encoder, ids: Array, mask: Array) -> Array:
    return encoder(ids, mask)


def _need(batch: Batch, key: str, instead: str) -> None:
    if key not in batch:
        raise ValueError(f"this stage needs {instead!r} or {key!r} in the data, got {', '.join(sorted(batch))}")
