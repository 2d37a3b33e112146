"""A prompt becomes a video: what a Python user imports.

pipeline = SteadyPipeline.from_checkpoint("checkpoints/steady-1.3b")
for frames in pipeline.stream("Waves roll onto a black beach, fixed camera.", seconds=30):
    ...  # uint8 [f, h, w, 3], one block after the other
"""

from collections.abc import Generator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from steady_jax import checkpoint, parameters, saved_state, scenes
from steady_jax.block import BlockSettings
from steady_jax.config import MODELS, ModelConfig, block_settings, known, sampling_config
from steady_jax.engine import Engine, Load
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.nn.attention import check_runs_here
from steady_jax.pictures import Clip
from steady_jax.saved_state import SavedState
from steady_jax.scenes import Scene, Timeline
from steady_jax.session import Embeddings, Encode, EncodedScene, Session, check_identity
from steady_jax.shapes import Array, Float, UInt8
from steady_jax.start import Start, start_from
from steady_jax.text import ByteTokenizer, PromptTokenizer, Tokenizer

ENCODED = "(given as embeddings)"
PUBLISHED = "1.3b"  # the model whose settings are taken where a checkpoint tells none
NETWORKS: dict[str, type[nnx.Module]] = {"dit": WanDiT, "vae": WanVAE, "text_encoder": UMT5Encoder}

Prompt = str | Sequence[Scene] | Embeddings
Video = UInt8[np.ndarray, "f h w rgb"]


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
        batch: int = 1,
        weights: str = "",
        device: jax.Device | None = None,
    ) -> None:
        """Checks that everything fits; loads nothing.

        Args:
            load: network by its name "dit", "vae" or "text_encoder".
            height, width: of the video, pixels.
            batch: videos that are made in step, see `Engine`.
            weights: tells these weights from others; a saved session goes on with the same ones only.
            device: where everything is computed; None: JAX's first.
        Raises:
            ValueError: a size that is no multiple of the networks' stride, or settings that do not fit each other.
        """
        _check_size(height, width, model.pixel_stride)
        if batch < 1:
            raise ValueError(f"batch must be at least 1 video per device, got {batch}")
        if tokenizer.vocabulary > model.text_encoder.vocabulary:
            raise ValueError(
                f"the text encoder needs a row for every piece of the tokenizer, got "
                f"{model.text_encoder.vocabulary} rows and {tokenizer.vocabulary} pieces; take both from the same model"
            )
        check_runs_here(model.dit.attention, model.dit.dtype)
        settings.policy.check(settings.frames, blocks=1)
        self.model, self.settings, self.tokenizer = model, settings, tokenizer
        size = {"height": height, "width": width, "batch": batch}
        self.engine = Engine(model, load, settings, **size, weights=weights, device=device)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        settings: BlockSettings | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        batch: int = 1,
        dtype: str | None = None,
        attention: str = "auto",
        model: ModelConfig | None = None,
    ) -> "SteadyPipeline":
        """Opens a folder made by `scripts/convert.py` or by a training; sizes come from the folder.

        What is None is what the folder says of its student, if it does; else the published setting.

        Args:
            path: the folder, or "tiny": the model that comes with the package.
            settings: how blocks are made; published: the `steady` memory with 6 frames per block.
            height, width: of the video, pixels; published: 480x832.
            dtype: of parameters and matrix products, "bfloat16" (published) or "float32".
            attention: backend, see `steady_jax.nn.attention`.
            model: sizes that the checkpoint must have, if the caller relies on them.
        Raises:
            ValueError: the folder is incomplete, or its sizes are not those of `model`.
        """
        found = checkpoint.describe(path)
        trained = sampling_config("steady", PUBLISHED) if found.sampling is None else ConfigDict(found.sampling)
        dtype = dtype or trained.dtype
        stored = ModelConfig.from_checkpoint(found, dtype=dtype, attention=attention)
        if model is not None:
            for name in NETWORKS:
                checkpoint.check_sizes(found.parts[name], getattr(model, name), path)
        tokenizer = Tokenizer.from_folder(found.tokenizer, stored.dit.text_length)

        def load(name: str) -> nnx.Module:
            config = getattr(stored, name)
            return checkpoint.load_component(path, name, NETWORKS[name], config, dtype=jnp.dtype(dtype))

        return cls(
            stored,
            load,
            tokenizer,
            settings or block_settings(trained),
            height=height or trained.height,
            width=width or trained.width,
            batch=batch,
            weights=checkpoint.fingerprint(path),
        )

    @classmethod
    def from_random(
        cls,
        model: ModelConfig,
        settings: BlockSettings,
        tokenizer: PromptTokenizer,
        *,
        height: int = 480,
        width: int = 832,
        batch: int = 1,
        seed: int = 0,
    ) -> "SteadyPipeline":
        """Random weights: the video is noise, but everything runs as it would. For trying out, tests and benchmarks."""

        def load(name: str) -> nnx.Module:
            config = getattr(model, name)
            return parameters.random(NETWORKS[name], config, seed=seed, dtype=jnp.dtype(config.dtype))

        weights = f"random, seed {seed}"
        return cls(model, load, tokenizer, settings, height=height, width=width, batch=batch, weights=weights)

    @classmethod
    def from_config(cls, config: ConfigDict) -> "SteadyPipeline":
        """The pipeline of a sampling config: of its checkpoint, or of random weights where it has none.

        Raises:
            ValueError: unknown names, settings that do not fit, or a checkpoint of other sizes than the config's model.
        """
        settings = block_settings(config)
        model = known(config.model, MODELS, "model") if config.model or not config.checkpoint else None
        size = {"height": config.height, "width": config.width, "batch": config.batch}
        if config.checkpoint:
            runtime = {"dtype": config.dtype, "attention": config.attention}
            return cls.from_checkpoint(config.checkpoint, settings, model=model, **runtime, **size)
        model = model.computing_in(config.dtype, config.attention)
        return cls.from_random(model, settings, ByteTokenizer(model.dit.text_length), **size)

    def encode(self, prompt: str) -> Float[Array, "1 t c"]:
        """Text embeddings of a prompt, zero beyond its length.

        Raises:
            ValueError: the prompt is empty.
        """
        return self.engine.encode(*self.tokenizer.encode([prompt]))

    def release_text_encoder(self) -> None:
        """Frees the text encoder's memory; it is loaded again when the next prompt is encoded."""
        self.engine.release("text_encoder")

    def network(self, name: str) -> nnx.Module:
        """The network of this name ("dit", "vae" or "text_encoder"), loaded at the first call."""
        return self.engine.network(name)

    def on(self, device: jax.Device) -> "SteadyPipeline":
        """The same pipeline on another device, with programs of its own."""
        engine = self.engine
        size = {"height": engine.height, "width": engine.width, "batch": engine.batch}
        return SteadyPipeline(
            self.model, self.network, self.tokenizer, self.settings, **size, weights=engine.weights, device=device
        )

    def timeline(self, prompt: str | Sequence[Scene], seconds: float | None, start: Start | None = None) -> Timeline:
        """Scenes in whole blocks of this pipeline; see `scenes.parse` and `scenes.timeline`."""
        asked = scenes.parse(prompt) if isinstance(prompt, str) else tuple(prompt)
        stride = self.model.vae.temporal_stride
        return scenes.timeline(asked, seconds, self.settings.frames, stride, continued=start is not None)

    def stream(
        self,
        prompt: Prompt,
        seconds: float | None = None,
        seed: int = 0,
        *,
        start: Start | None = None,
    ) -> Generator[Video, str | Scene | None, None]:
        """Makes a video and yields its frames block by block, 16 per second. While the caller uses one block, the next
        is made.

        `send("...")`, or `send(Scene("...", cut=True))`, instead of `next` begins a new scene one block later. A scene
        that cannot be ends the stream with its ValueError; a `session` goes on.

        Args:
            prompt: text, a schedule of scenes ("Calm sea [5s] | Storm [10s#] | Calm sea", see `scenes.parse`), scenes,
                or embeddings from `encode`.
            seconds: length; exactly round(16 * seconds) frames come out. None: what the scenes add up to.
            seed: 0..2^32-1; the same seed gives the same video.
            start: from `start_from`: what the video goes on from. It comes out first, and `seconds` counts what
                follows.
        Raises:
            ValueError: seconds that make no frame, a seed out of range, an empty prompt, a schedule that does not fit,
                or a length beyond what the memory policy can do. All are raised before anything is computed.
        """
        plan, encode = self._planned(prompt, seconds, start)
        self.check([plan] * self.engine.batch, [seed] * self.engine.batch, start)
        return self._steered(plan, seed, encode, start)

    def __call__(
        self, prompt: Prompt, seconds: float | None = None, seed: int = 0, *, start: Start | None = None
    ) -> Video:
        """Makes a video and returns all its frames at once; arguments as in `stream`."""
        return np.concatenate(list(self.stream(prompt, seconds, seed, start=start)))

    def session(
        self,
        prompt: Prompt,
        seconds: float | None = None,
        seed: int = 0,
        *,
        start: Start | None = None,
        endless: bool = False,
        lookahead: bool = True,
        keep_latents: bool = False,
    ) -> Session:
        """A video in the making, to be steered, paused and saved; see `session.Session`.

        Args: as in `stream`, and
            endless: no length; the last scene goes on until a new one begins, or nobody asks for more.
            lookahead, keep_latents: as in `Session`.
        """
        plan, encode = self._planned(prompt, seconds, start)
        batch = self.engine.batch
        options = {"endless": endless, "lookahead": lookahead, "keep_latents": keep_latents}
        return self.session_of([plan] * batch, [seed] * batch, encode, start, **options)

    def session_of(
        self,
        plans: Sequence[Timeline],
        seeds: Sequence[int],
        encode: Encode | None = None,
        start: Start | None = None,
        *,
        endless: bool = False,
        lookahead: bool = True,
        keep_latents: bool = False,
    ) -> Session:
        """A session of `batch` videos in step.

        Args:
            plans, seeds: of each video.
            encode: text embeddings of a prompt, where they are there already.
        Raises:
            ValueError: as `check`.
        """
        self.check(plans, seeds, start, endless=endless)
        encode = encode or self.encode
        first, encoded = plans[0], {}
        for index, block in enumerate(first.starts):
            prompts = tuple(plan.scenes[index].prompt for plan in plans)
            embeddings = np.concatenate([np.asarray(encode(prompt)) for prompt in prompts])
            scene = first.scenes[index]
            encoded[block] = EncodedScene(prompts, embeddings, scene.flush, scene.cut)
        return Session(
            self.engine,
            encoded,
            seeds,
            encode=encode,
            frames=None if endless else first.frames + (start.shown if start else 0),
            start=start,
            lookahead=lookahead,
            keep_latents=keep_latents,
        )

    def restore(
        self,
        folder: str | Path,
        *,
        encode: Encode | None = None,
        start: Start | None = None,
        lookahead: bool = True,
        keep_latents: bool = False,
    ) -> Session:
        """The session whose newest state `Session.save` wrote into `folder`; it goes on with the same frames, bit for
        bit.

        Args:
            start: what the video went on from; needed only if the state lies within it.
        Raises:
            ValueError: there is no state, or lists what differs between then and now.
        """
        state = saved_state.latest(folder)
        if state is None:
            raise ValueError(f"{folder} holds no saved state; Session.save writes one")
        return Session.restore(
            self.engine,
            state,
            encode=encode or self.encode,
            start=start,
            lookahead=lookahead,
            keep_latents=keep_latents,
        )

    def check_state(self, state: SavedState) -> None:
        """Raises ValueError, which lists what differs, if a state was saved by another pipeline; computes nothing."""
        check_identity(state, self.engine.identity)

    def check(
        self, plans: Sequence[Timeline], seeds: Sequence[int], start: Start | None = None, *, endless: bool = False
    ) -> None:
        """Raises ValueError for videos that cannot be made in step, or not at all; computes nothing."""
        policy, first = self.settings.policy, plans[0]
        if len(plans) != self.engine.batch or len(seeds) != self.engine.batch:
            raise ValueError(
                f"a batch of {self.engine.batch} needs as many plans and seeds, got {len(plans)} and {len(seeds)}"
            )
        if any(plan.rhythm != first.rhythm for plan in plans):
            raise ValueError(
                "videos of one batch must be in step: the same length, and scenes that begin together and alike, "
                f"got {[plan.rhythm for plan in plans]}"
            )
        given = start.blocks if start else 0
        policy.check(self.settings.frames, None if endless else given + first.blocks)
        for scene in first.scenes[0 if start else 1 :]:
            policy.begin_scene(self.settings.frames, scene.flush, scene.cut)
        for seed in seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"seed must lie in 0..{2**32 - 1}, got {seed}")
        for plan in plans:  # an empty prompt is refused here, before the text encoder is loaded
            self.tokenizer.encode([scene.prompt for scene in plan.scenes])

    def start_from(self, clip: Clip | Video, *, when_odd: str = "error") -> Start:
        """What a video can go on from.

        Args:
            clip: frames of the video's size (`pictures.fitted` gives them), or a clip file of any size. One frame is a
                picture: it is held still while the memory takes it in, and comes out once.
            when_odd: "error" or "crop": what to do with a clip that does not fill whole blocks; "crop" leaves out its
                first frames.
        Raises:
            ValueError: another size, or a clip that fits no number of blocks.
        """
        frames, stride = self.settings.frames, self.model.vae.temporal_stride
        return start_from(clip, self.engine.height, self.engine.width, frames, stride, when_odd=when_odd)

    def _planned(self, prompt: Prompt, seconds: float | None, start: Start | None) -> tuple[Timeline, Encode]:
        """Where the scenes of a prompt begin, and how their texts are encoded."""
        if isinstance(prompt, str) or all(isinstance(scene, Scene) for scene in prompt):
            return self.timeline(prompt, seconds, start), self.encode
        wanted = (1, self.model.dit.text_length, self.model.dit.text_width)
        if prompt.shape != wanted:
            raise ValueError(f"embeddings must be {list(wanted)}, as `encode` returns them, got {list(prompt.shape)}")
        return self.timeline([Scene(ENCODED)], seconds, start), lambda _: prompt

    def _steered(
        self, plan: Timeline, seed: int, encode: Encode, start: Start | None
    ) -> Generator[Video, str | Scene | None, None]:
        batch = self.engine.batch
        session = self.session_of([plan] * batch, [seed] * batch, encode, start)
        for frames in session:
            asked = yield frames[0]
            if asked is not None:
                scene = Scene(asked) if isinstance(asked, str) else asked
                session.prompt(scene.prompt, flush=scene.flush, cut=scene.cut)


def _check_size(height: int, width: int, stride: int) -> None:
    if height < stride or width < stride or height % stride or width % stride:
        nearest = [max(stride, round(size / stride) * stride) for size in (height, width)]
        raise ValueError(
            f"height and width must be multiples of {stride} pixels, got {height}x{width}; "
            f"the nearest size is {nearest[0]}x{nearest[1]}"
        )
