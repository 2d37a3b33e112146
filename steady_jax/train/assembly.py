"""The parts that stages are put together from: networks by the folders of a config, data, tokenizer, rollout."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from steady_jax import checkpoint
from steady_jax.block import BlockSettings
from steady_jax.config import MODELS, ModelConfig, block_settings, known, sampling_of
from steady_jax.data.batches import batches
from steady_jax.data.records import Field, Shards
from steady_jax.data.sources import Source, open_both
from steady_jax.memory.steady import Steady
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.nn.attention import check_runs_here
from steady_jax.text import Tokenizer
from steady_jax.train.config import TRAINING
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.export import CONFIGS
from steady_jax.train.feeding import part_of_batch, put
from steady_jax.train.networks import Learner, Network
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stage import Batch
from steady_jax.train.stages.base import Setup
from steady_jax.train.stages.teacher import DIT
from steady_jax.train.writing import latents_shape

KINDS: Mapping[str, type[nnx.Module]] = {"dit": WanDiT, "vae": WanVAE, "text_encoder": UMT5Encoder}


def students(config: ConfigDict) -> dict[str, str]:
    """The folders of the students to compare, by name."""
    named = [student.partition("=") for student in config.students] if "students" in config else []
    if any(not name or not folder for name, _, folder in named):
        raise ValueError(f"a student is NAME=FOLDER, got {config.students}")
    return {name: folder for name, _, folder in named}


class Build:
    """The parts that stages are put together from."""

    def __init__(self, config: ConfigDict, mesh: Mesh) -> None:
        self.config, self.mesh = config, mesh
        if "attention" in config:
            check_runs_here(config.attention, config.dtype)
        more = {name: self.network_in(folder, DIT) for name, folder in students(config).items()}
        frozen = {name: self.network(name) for name in self._frozen_names()}
        self.frozen = Frozen({**frozen, **more}, mesh)
        self.tokenizer = self._tokenizer()
        self.encoders = Encoders(self.frozen, self.tokenizer)

    @functools.cached_property
    def vae(self) -> Any:
        """The VAE's configuration: that of the folder, or of the model."""
        has_folder = "vae" in self.config and self.config.vae
        return self._stored(self.config.vae, "vae") if has_folder else self.model.vae

    @property
    def model(self) -> ModelConfig:
        """Sizes of networks that no folder tells."""
        return known(self.config.model, MODELS, "model")

    @property
    def latents(self) -> tuple[int, int, int, int]:
        """Frames, rows, columns and channels of a clip's latents."""
        config = self.config
        stride = self.vae.spatial_stride
        self.vae.check_size(config.height, config.width)
        return latents_shape(config.clip_frames, config.height, config.width, stride, self.vae.channels)

    @property
    def pixel_frames(self) -> int:
        """Pixel frames of a clip."""
        return 1 + (self.config.clip_frames - 1) * self.vae.temporal_stride

    def network(self, name: str) -> Network:
        """A frozen network, from the folder that the config names after it."""
        return self.network_in(self.config[name], DIT if name == "teacher" else name)

    def network_in(self, folder: str, part: str) -> Network:
        """A frozen network from a checkpoint folder."""
        sizes = self._computing(self._stored(folder, part), trained=False)
        return Network(KINDS[part], sizes, part, folder, dtype=self.config.dtype)

    def learner(self, folder: str, part: str, optimiser: ConfigDict, every: int = 1) -> Learner:
        """A network in training, from the folder that the config has under `folder`, or with random weights.

        Args:
            every: steps per update.
        """
        config, where = self.config, self.config[folder]
        sizes = self._stored(where, part) if where else getattr(self.model, part)
        network = Network(KINDS[part], self._computing(sizes, trained=True), part, where, seed=config.seed)
        return Learner(network, OptimiserSettings(**optimiser), -(-config.train_steps // every))

    def setup(self, learners: Mapping[str, Learner], copied: Mapping[str, str | None]) -> Setup:
        """What all stages are made of."""
        config = self.config
        return Setup(
            self.mesh,
            learners,
            self.frozen,
            self.encoders,
            config.batch,
            config.accumulate,
            config.cut,
            config.seed,
            {part: folder for part, folder in copied.items() if folder},
            sampling_of(config) if "policy" in config else None,
        )

    def rollout(self) -> RolloutSettings:
        """How a student rolls out."""
        config, frames = self.config, self.config.block_frames
        trains = config.stage in TRAINING
        lengths = {"clip_frames": config.clip_frames} | ({"rollout_frames": config.rollout_frames} if trains else {})
        for name, length in lengths.items():
            if length % frames:
                raise ValueError(f"{name} must be a multiple of block_frames ({frames}), got {length}")
        block, blocks = block_settings(config), lengths.get("rollout_frames", config.clip_frames) // frames
        if "rollout_flush_period" in config:
            block = _flushed_every(config.rollout_flush_period, block, blocks)
        return RolloutSettings(
            block,
            blocks,
            config.clip_frames // frames,
            *self.latents[1:3],
            config.context_sigma if trains else 0.0,
        )

    def need_text_encoder(self) -> None:
        """Refuses a run that would find only at its first step that nothing encodes its prompts."""
        if "text_encoder" not in self.frozen:
            raise ValueError(
                "prompts and the negative prompt are encoded in this stage, whatever the data hold: "
                "name a checkpoint folder with config.text_encoder"
            )

    @functools.cached_property
    def in_shards(self) -> Mapping[str, Field]:
        """What the records of the data hold, where they are shards."""
        data = self.config.data
        return Shards(data.path).contents.fields if data.kind == "shards" and data.path else {}

    def source(self) -> Source:
        """What the config says of the data."""
        data, config = self.config.data, self.config
        clip, length = {}, {}
        if data.kind in ("clips", "nature_flow") or "pixels" in self.in_shards:
            clip = {"frames": self.pixel_frames, "height": config.height, "width": config.width}
        if "embeddings" in self.in_shards and config.stage not in ("vae", "encode") and not self.trains_text_encoder:
            length = {"text_length": self._text_length()}
        return Source(data.kind, data.path or None, **clip, **length, held_out=data.held_out, seed=data.seed)

    @functools.cached_property
    def items(self) -> tuple[Any, Any]:
        """Items to train on, and those that are held out, with what goes onto devices: text stays behind."""
        both = open_both(self.source(), self._data_tokenizer())

        def arrays(item: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in item.items() if not isinstance(value, str)}

        return tuple(None if items is None else items.map(arrays) for items in both)

    def batches(self) -> Iterator[Mapping[str, np.ndarray]]:
        """What this process trains on."""
        config = self.config
        return batches(self.items[0], batch=config.batch, part=part_of_batch(self.mesh), seed=config.seed)

    def held_out(self) -> Callable[[], Iterable[Batch]]:
        """Micro-batches that are not trained on, the same ones each time, on the devices."""
        config, count = self.config, self.config.data.held_out
        size = config.batch // config.accumulate
        if not count:
            return tuple
        if count % size:
            raise ValueError(f"data.held_out must be whole batches of {size} items (batch / accumulate), got {count}")

        def read() -> Iterable[Batch]:
            order = batches(self.items[1], batch=size, part=part_of_batch(self.mesh), seed=0, threads=0)
            return (put(batch, self.mesh) for batch in itertools.islice(order, count // size))

        return read

    def need_folders(self, *names: str) -> None:
        """Refuses a student's training that would begin with random weights because a folder was forgotten."""
        if missing := [name for name in names if not self.config[name]]:
            raise ValueError(f"name the checkpoint folders of {', '.join(f'config.{name}' for name in missing)}")

    def sample_prompts(self) -> tuple[str, ...]:
        """Prompts of the videos that show how far a run is.

        Raises:
            ValueError: videos are asked for, and there is no prompt, or no VAE that could make them.
        """
        config = self.config
        if config.sample_every and not (config.sample_prompts and "vae" in self.frozen):
            raise ValueError(
                "sample_every needs sample_prompts, and a VAE (config.vae); sample_every=0 leaves the videos out"
            )
        return tuple(config.sample_prompts)

    @property
    def trains_text_encoder(self) -> bool:
        """Whether prompts are learnt."""
        return self.config.stage == "teacher" and self.config.train_text_encoder

    def _data_tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the data's prompts, where the stage reads prompts."""
        reads = (
            self.config.stage not in ("vae", "encode", "ode_pairs", "compare") and "embeddings" not in self.in_shards
        )
        return self.tokenizer if self.trains_text_encoder or reads else None

    def _frozen_names(self) -> list[str]:
        """Networks that the config names a folder for, and that are not trained."""
        config = self.config
        names = [name for name in ("teacher", "vae", "text_encoder") if config.get(name)]
        hidden = {"vae": ["vae"], "teacher": ["text_encoder"] if self.trains_text_encoder else []}
        return [name for name in names if name not in hidden.get(self.config.stage, [])]

    def _stored(self, folder: str, part: str) -> Any:
        return checkpoint.describe(folder, parts=[part]).parts[part].config(CONFIGS[part])

    def _computing(self, sizes: Any, *, trained: bool) -> Any:
        """A configuration with how the run computes."""
        config = self.config
        how = {"dtype": config.dtype}
        if "attention" in config and hasattr(sizes, "attention"):
            how |= {"attention": config.attention}
            how |= {"remat": config.remat} if trained else {}
        return dataclasses.replace(sizes, **how)

    def _tokenizer(self) -> Tokenizer | None:
        folder = self._first_folder("tokenizer", "text_encoder")
        if folder is None:
            return None
        found = checkpoint.describe(folder, parts=["tokenizer"])
        return Tokenizer.from_folder(found.tokenizer, self._text_length())

    def _text_length(self) -> int:
        """Tokens that prompts are filled up to, by the transformer that reads them."""
        folder = self._first_folder("teacher", "init")
        dit = self._stored(folder, DIT) if folder else self.model.dit
        return dit.text_length

    def _first_folder(self, *names: str) -> str | None:
        """The first of these folders that the config has and names."""
        return next((self.config[name] for name in names if self.config.get(name)), None)


def _flushed_every(period: int, block: BlockSettings, blocks: int) -> BlockSettings:
    """Blocks under a memory that is flushed every so many, even if it is not otherwise; 0: as it is.

    Args:
        blocks: of a rollout.
    Raises:
        ValueError: that memory knows no periodic flush, or the rollout has none.
    """
    if period < 0:
        raise ValueError(f"rollout_flush_period must be at least 1 block, or 0 for none of its own, got {period}")
    if period == 0:
        return block
    if not isinstance(block.policy, Steady):
        raise ValueError(
            f"rollout_flush_period {period} is for the memory with a periodic flush, steady, got {block.policy}; "
            "set it to 0"
        )
    policy = dataclasses.replace(block.policy, flush=True, flush_period=period)
    if not any(number * block.frames >= policy.flush_warmup for number in range(period, blocks, period)):
        raise ValueError(
            f"rollout_flush_period {period} flushes before none of the {blocks} blocks of a rollout, of {block.frames} "
            f"frames each, the first {policy.flush_warmup} frames (memory.flush_warmup) being exempt; lower one of "
            "the two or raise rollout_frames"
        )
    return dataclasses.replace(block, policy=policy)
