"""From a config to what runs: mesh, networks, stage, batches. Everything is checked here, before long work starts."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from steady_jax import checkpoint, parallel
from steady_jax.config import MODELS, block_settings, known
from steady_jax.data.batches import batches
from steady_jax.data.sources import Source, open_items
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.nn.attention import check_runs_here
from steady_jax.text import Tokenizer
from steady_jax.train.compare import Compare
from steady_jax.train.config import TRAINING
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.feeding import part_of_batch, put
from steady_jax.train.networks import Learner, Network
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.rewards import MotionReward, Reward, host_reward
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stage import Batch
from steady_jax.train.stages.base import BaseStage, Setup
from steady_jax.train.stages.dmd import CRITIC, DMD, GENERATOR, DMDSettings
from steady_jax.train.stages.ode_init import ODEInit
from steady_jax.train.stages.teacher import DIT, TEXT_ENCODER, Teacher, TeacherSettings
from steady_jax.train.stages.vae import VAE, VAESettings, VAEStage
from steady_jax.train.trainer import TrainerSettings
from steady_jax.train.writing import Encode, ODEPairs, PairSettings, latents_shape

KINDS: Mapping[str, type[nnx.Module]] = {"dit": WanDiT, "vae": WanVAE, "text_encoder": UMT5Encoder}


@dataclasses.dataclass(frozen=True)
class Built:
    """A stage that trains, and its data."""

    stage: BaseStage
    batches: Iterator[Mapping[str, np.ndarray]]
    settings: TrainerSettings


def training(config: ConfigDict, mesh: Mesh) -> Built:
    """A stage that trains, ready to be given to `steady_jax.train.trainer.train`. No weights are loaded.

    Raises:
        ValueError: settings that do not fit each other, the checkpoint folders, or the devices.
        OSError: the data are not there.
    """
    if config.stage not in TRAINING:
        raise ValueError(f"stage {config.stage!r} does not train a network; known are {', '.join(TRAINING)}")
    build = _Build(config, mesh)
    stage = {"vae": _vae, "teacher": _teacher, "ode_init": _ode_init, "dmd": _dmd, "redmd": _dmd}[config.stage](build)
    settings = TrainerSettings(
        config.train_steps,
        config.log_every,
        config.save_every,
        config.keep,
        config.held_out_every,
        config.sample_every,
    )
    return Built(stage, build.batches(), settings)


def encoding(config: ConfigDict, mesh: Mesh) -> tuple[Encode, Any]:
    """The stage encode, and the items it reads."""
    build = _Build(config, mesh)
    items = open_items(build.source())
    if "prompt" not in items[0] and "text_encoder" in build.frozen:
        raise ValueError(f"the text encoder has nothing to encode: {config.data.path} has no prompts; leave it out")
    if "pixels" in items[0] and "vae" not in build.frozen:
        raise ValueError("clips need a VAE: name its checkpoint folder with config.vae")
    if "pixels" not in items[0] and "text_encoder" not in build.frozen:
        raise ValueError("prompts need a text encoder: name its checkpoint folder with config.text_encoder")
    return Encode(build.frozen, build.encoders, build.tokenizer, build.latents), items


def pairing(config: ConfigDict, mesh: Mesh) -> tuple[ODEPairs, Any]:
    """The stage ode_pairs, and the prompts it reads."""
    build = _Build(config, mesh)
    if not config.teacher:
        raise ValueError("trajectories are a teacher's: name its checkpoint folder with config.teacher")
    build.need_text_encoder()
    settings = PairSettings(ODE(**config.ode), FewSteps(tuple(config.steps), config.shift), build.latents, config.seed)
    items = open_items(build.source())
    return ODEPairs(build.frozen, build.encoders, build.tokenizer, settings, config.negative_prompt), items


def comparing(config: ConfigDict, mesh: Mesh) -> tuple[Compare, list[str]]:
    """The stage compare, and its prompts."""
    build = _Build(config, mesh)
    if not config.teacher or not config.students:
        raise ValueError('name config.teacher, and config.students as ("NAME=FOLDER", ...)')
    build.need_text_encoder()
    if config.prompts % config.batch:
        raise ValueError(f"prompts must be whole batches of {config.batch} (batch), got {config.prompts}")
    source = dataclasses.replace(build.source(), held_out=config.prompts)
    items = open_items(source, held_out=True)
    prompts = [str(items[number]["prompt"]) for number in range(config.prompts)]
    parts = (
        build.frozen,
        build.encoders,
        build.rollout(),
        ODE(**config.ode),
        tuple(students(config)),
        config.negative_prompt,
    )
    return Compare(*parts, config.seed), prompts


def prompts_of(config: ConfigDict) -> Source:
    """Where a tokenizer is learnt from."""
    data = config.data
    if data.kind not in ("prompts", "nature_prompts"):
        raise ValueError(f"a tokenizer is learnt from data of kind prompts or nature_prompts, got {data.kind!r}")
    return Source(data.kind, data.path, held_out=data.held_out, seed=data.seed)


def students(config: ConfigDict) -> dict[str, str]:
    """The folders of the students to compare, by name."""
    named = [student.partition("=") for student in config.get("students", ())]
    if any(not name or not folder for name, _, folder in named):
        raise ValueError(f"a student is NAME=FOLDER, got {config.students}")
    return {name: folder for name, _, folder in named}


class _Build:
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
        folder = self.config.get("vae") if self.config.stage != "vae" else None
        return self._stored(folder, "vae") if folder else MODELS[self.config.model].vae

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
        known(config.model, MODELS, "model")
        sizes = self._stored(where, part) if where else getattr(MODELS[config.model], part)
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
        )

    def rollout(self) -> RolloutSettings:
        """How a student rolls out."""
        config, frames = self.config, self.config.block_frames
        for name in ("clip_frames", "rollout_frames"):
            if config.get(name, 0) % frames:
                raise ValueError(f"{name} must be a multiple of block_frames ({frames}), got {config[name]}")
        rollout_frames = config.get("rollout_frames", config.clip_frames)
        return RolloutSettings(
            block_settings(config),
            rollout_frames // frames,
            config.clip_frames // frames,
            *self.latents[1:3],
            config.get("context_sigma", 0.0),
        )

    def need_text_encoder(self) -> None:
        """Refuses a run that would find only at its first step that nothing encodes its prompts."""
        if "text_encoder" not in self.frozen:
            raise ValueError(
                "prompts and the negative prompt are encoded in this stage, whatever the data hold: "
                "name a checkpoint folder with config.text_encoder"
            )

    def source(self) -> Source:
        """What the config says of the data."""
        data, config = self.config.data, self.config
        clip = {}
        if data.kind in ("clips", "nature_flow"):
            clip = {"frames": self.pixel_frames, "height": config.height, "width": config.width}
        length = {}
        if data.kind == "shards" and config.stage not in ("vae", "encode") and not self.trains_text_encoder:
            length = {"text_length": self._text_length()}
        return Source(data.kind, data.path, **clip, **length, held_out=data.held_out, seed=data.seed)

    def batches(self) -> Iterator[Mapping[str, np.ndarray]]:
        """What this process trains on."""
        items = open_items(self.source(), tokenizer=self._data_tokenizer())
        config = self.config
        part = part_of_batch(self.mesh)
        return batches(self._only(items), batch=config.batch, part=part, seed=config.seed)

    def held_out(self) -> Callable[[], Iterable[Batch]]:
        """Batches that are not trained on, the same ones each time, on the devices."""
        source, size = self.source(), self.config.batch
        if not source.held_out:
            return tuple
        if source.held_out % size:
            raise ValueError(f"data.held_out must be whole batches of {size} items (batch), got {source.held_out}")

        def read() -> Iterable[Batch]:
            items = self._only(open_items(source, held_out=True, tokenizer=self._data_tokenizer()))
            order = batches(items, batch=size, part=part_of_batch(self.mesh), seed=0, threads=0)
            return (put(batch, self.mesh) for batch in itertools.islice(order, source.held_out // size))

        return read

    @property
    def trains_text_encoder(self) -> bool:
        """Whether prompts are learnt."""
        return self.config.stage == "teacher" and self.config.train_text_encoder

    def _only(self, items: Any) -> Any:
        """Items with what goes onto devices: text stays behind."""
        return items.map(lambda item: {key: value for key, value in item.items() if not isinstance(value, str)})

    def _data_tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the data's prompts, where the stage reads prompts."""
        reads = self.trains_text_encoder or (
            self.config.stage in ("dmd", "redmd", "teacher") and self.config.data.kind != "shards"
        )
        return self.tokenizer if reads else None

    def _frozen_names(self) -> list[str]:
        """Networks that the config names a folder for, and that are not trained."""
        names = [name for name in ("teacher", "vae", "text_encoder") if self.config.get(name)]
        hidden = {"vae": ["vae"], "teacher": ["text_encoder"] if self.trains_text_encoder else []}
        return [name for name in names if name not in hidden.get(self.config.stage, [])]

    def _stored(self, folder: str, part: str) -> Any:
        kinds = {DIT: MODELS["tiny"].dit, "vae": MODELS["tiny"].vae, TEXT_ENCODER: MODELS["tiny"].text_encoder}
        return checkpoint.describe(folder, parts=[part]).parts[part].config(type(kinds[part]))

    def _computing(self, sizes: Any, *, trained: bool) -> Any:
        """A configuration with how the run computes."""
        config = self.config
        how = {"dtype": config.dtype}
        if "attention" in config and hasattr(sizes, "attention"):
            how |= {"attention": config.attention}
            how |= {"remat": config.remat} if trained else {}
        return dataclasses.replace(sizes, **how)

    def _tokenizer(self) -> Tokenizer | None:
        folder = self.config.get("tokenizer") or self.config.get("text_encoder")
        if not folder:
            return None
        found = checkpoint.describe(folder, parts=["tokenizer"])
        return Tokenizer.from_folder(found.tokenizer, self._text_length())

    def _text_length(self) -> int:
        """Tokens that prompts are filled up to, by the transformer that reads them."""
        folder = self.config.get("teacher") or self.config.get("init")
        dit = self._stored(folder, DIT) if folder else MODELS[self.config.model].dit
        return dit.text_length


def _vae(build: _Build) -> VAEStage:
    config = build.config
    setup = build.setup({VAE: build.learner("init", "vae", config.optimiser)}, {})
    return VAEStage(setup, VAESettings(**config.loss), held_out=build.held_out(), samples=config.samples)


def _teacher(build: _Build) -> Teacher:
    config, learners = build.config, {DIT: build.learner("init", DIT, build.config.optimiser)}
    if config.train_text_encoder:
        if build.tokenizer is None:
            raise ValueError("train_text_encoder needs a tokenizer: name its checkpoint folder with config.tokenizer")
        learners[TEXT_ENCODER] = build.learner("text_encoder", TEXT_ENCODER, config.optimiser)
    else:
        build.need_text_encoder()
    tokenizer = config.tokenizer or config.text_encoder
    copied = {"vae": config.vae, TEXT_ENCODER: config.text_encoder, "tokenizer": tokenizer}
    return Teacher(
        build.setup(learners, copied),
        TeacherSettings(ODE(**config.ode), config.shift, config.dropout),
        tokenizer=build.tokenizer,
        negative_prompt=config.negative_prompt,
        held_out=build.held_out(),
        sample_prompts=config.sample_prompts,
        sample_shape=build.latents,
    )


def _ode_init(build: _Build) -> ODEInit:
    config = build.config
    setup = build.setup({GENERATOR: build.learner("init", DIT, config.optimiser)}, _rest(config))
    return ODEInit(setup, build.rollout(), held_out=build.held_out(), sample_prompts=config.sample_prompts)


def _dmd(build: _Build) -> DMD:
    config = build.config
    if not config.teacher:
        raise ValueError("the teacher is not trained here: name its checkpoint folder with config.teacher")
    build.need_text_encoder()
    every = config.dmd.generator_every
    learners = {
        GENERATOR: build.learner("init", DIT, config.optimiser, every),
        CRITIC: build.learner("critic", DIT, config.critic_optimiser),
    }
    return DMD(
        build.setup(learners, _rest(config)),
        DMDSettings(**config.dmd, shift=config.shift),
        build.rollout(),
        negative_prompt=config.negative_prompt,
        sample_prompts=config.sample_prompts,
        reward=_reward(config) if config.stage == "redmd" else None,
    )


def _reward(config: ConfigDict) -> Reward:
    return MotionReward(**config.motion) if config.reward == "motion" else host_reward(config.reward)


def _rest(config: ConfigDict) -> dict[str, str | None]:
    """The parts of a student's checkpoint folder that are not trained, by the folder they come from."""
    return {"vae": config.vae, TEXT_ENCODER: config.text_encoder, "tokenizer": config.text_encoder}


def mesh_of(config: ConfigDict) -> Mesh:
    """The mesh of a config; stages that write records use all devices of their process for items."""
    if "mesh" in config:
        return parallel.make_mesh(config.mesh.to_dict())
    return parallel.make_mesh({"fsdp": -1}, jax.local_devices())
