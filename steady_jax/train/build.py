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
from steady_jax.config import MODELS, ModelConfig, block_settings, known
from steady_jax.data.batches import batches
from steady_jax.data.records import Field, Shards
from steady_jax.data.sources import Source, fingerprint_of_data, open_both, open_items
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.nn.attention import check_runs_here
from steady_jax.text import Tokenizer
from steady_jax.train.compare import Compare
from steady_jax.train.config import FOLDERS, TRAINING
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
LEARNT_FROM = ("prompts", "nature_prompts", "descriptions")  # kinds of data that a tokenizer is learnt from


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
    build = Build(config, mesh)
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


def inputs(config: ConfigDict) -> dict[str, str | None]:
    """What the folders and the data of a config hold, told from others wherever they lie, by key."""
    folders = [name for name in (*FOLDERS[config.stage], "tokenizer") if config.get(name)]
    found = {name: checkpoint.fingerprint(config[name]) for name in folders}
    path = config.data.path
    return {**found, "data": fingerprint_of_data(config.data.kind, path) if path else None}


def encoding(config: ConfigDict, mesh: Mesh) -> tuple[Encode, Any]:
    """The stage encode, and the items it reads."""
    build = Build(config, mesh)
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
    build = Build(config, mesh)
    if not config.teacher:
        raise ValueError("trajectories are a teacher's: name its checkpoint folder with config.teacher")
    build.need_text_encoder()
    settings = PairSettings(ODE(**config.ode), FewSteps(tuple(config.steps), config.shift), build.latents, config.seed)
    items = open_items(build.source())
    return ODEPairs(build.frozen, build.encoders, build.tokenizer, settings, config.negative_prompt), items


def comparing(config: ConfigDict, mesh: Mesh) -> tuple[Compare, list[str]]:
    """The stage compare, and its prompts."""
    build = Build(config, mesh)
    if not config.teacher or not config.students:
        raise ValueError('name config.teacher, and config.students as ("NAME=FOLDER", ...)')
    build.need_text_encoder()
    if config.each < 2:
        raise ValueError(f"distances take at least 2 samples (each) per prompt and student, got {config.each}")
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
    if data.kind not in LEARNT_FROM:
        raise ValueError(f"a tokenizer is learnt from data of kind {', '.join(LEARNT_FROM)}, got {data.kind!r}")
    return Source(data.kind, data.path or None, held_out=data.held_out, seed=data.seed)


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
        )

    def rollout(self) -> RolloutSettings:
        """How a student rolls out."""
        config, frames = self.config, self.config.block_frames
        trains = config.stage in TRAINING
        lengths = {"clip_frames": config.clip_frames} | ({"rollout_frames": config.rollout_frames} if trains else {})
        for name, length in lengths.items():
            if length % frames:
                raise ValueError(f"{name} must be a multiple of block_frames ({frames}), got {length}")
        return RolloutSettings(
            block_settings(config),
            lengths.get("rollout_frames", config.clip_frames) // frames,
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


def _vae(build: Build) -> VAEStage:
    config = build.config
    setup, settings = build.setup({VAE: build.learner("init", "vae", config.optimiser)}, {}), VAESettings(**config.loss)
    if not config.data.held_out:
        raise ValueError("latents are normalised by their spread over held-out clips; set data.held_out above 0")
    settings.check_data(build.items[0][0])
    return VAEStage(setup, settings, held_out=build.held_out(), samples=config.samples)


def _teacher(build: Build) -> Teacher:
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
        sample_prompts=build.sample_prompts(),
        sample_shape=build.latents,
    )


def _ode_init(build: Build) -> ODEInit:
    config = build.config
    build.need_folders("init")
    rollout = build.rollout()
    _check_pairs(build)
    setup = build.setup({GENERATOR: build.learner("init", DIT, config.optimiser)}, _rest(config))
    return ODEInit(setup, rollout, held_out=build.held_out(), sample_prompts=build.sample_prompts())


def _check_pairs(build: Build) -> None:
    """Refuses trajectories of another size, or at other noise levels than those of the student.

    Raises:
        ValueError: names what differs.
    """
    config = build.config
    field = build.in_shards.get("trajectory")
    if field is None:
        raise ValueError(f"ode_init learns from what the stage ode_pairs writes; data.path is {config.data.path!r}")
    made = Shards(config.data.path).contents.settings
    shape = (len(config.steps) + 1, *build.latents)
    found = {"shape": tuple(field.shape), "steps": tuple(made["steps"]), "shift": made["shift"]}
    asked = {"shape": shape, "steps": tuple(config.steps), "shift": config.shift}
    if differing := [f"{key} {found[key]}, not {asked[key]}" for key in asked if found[key] != asked[key]]:
        raise ValueError(
            f"the pairs in {config.data.path} have {'; '.join(differing)}: write them with the student's settings"
        )


def _dmd(build: Build) -> DMD:
    build.need_folders("init", "critic", "teacher")
    build.need_text_encoder()
    return distillation(build)


def distillation(build: Build) -> DMD:
    """The stages dmd and redmd."""
    config, every = build.config, build.config.dmd.generator_every
    learners = {
        GENERATOR: build.learner("init", DIT, config.optimiser, every),
        CRITIC: build.learner("critic", DIT, config.critic_optimiser),
    }
    return DMD(
        build.setup(learners, _rest(config)),
        DMDSettings(**config.dmd, shift=config.shift),
        build.rollout(),
        negative_prompt=config.negative_prompt,
        sample_prompts=build.sample_prompts(),
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
