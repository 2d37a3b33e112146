"""From a config to what runs: mesh, networks, stage, batches. Everything is checked here, before long work starts."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from steady_jax import checkpoint, parallel
from steady_jax.data.records import Shards
from steady_jax.data.sources import Source, fingerprint_of_data, open_items
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.train.assembly import Build, students
from steady_jax.train.compare import Compare
from steady_jax.train.config import FOLDERS, TRAINING
from steady_jax.train.moving import check_moving
from steady_jax.train.rewards import MotionReward, Reward, host_reward
from steady_jax.train.stages.base import BaseStage
from steady_jax.train.stages.dmd import CRITIC, DMD, GENERATOR, DMDSettings
from steady_jax.train.stages.ode_init import ODEInit
from steady_jax.train.stages.teacher import DIT, TEXT_ENCODER, Teacher, TeacherSettings
from steady_jax.train.stages.vae import VAE, VAESettings, VAEStage
from steady_jax.train.trainer import TrainerSettings
from steady_jax.train.writing import Encode, ODEPairs, PairSettings

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


def _vae(build: Build) -> VAEStage:
    config = build.config
    setup, settings = build.setup({VAE: build.learner("init", "vae", config.optimiser)}, {}), VAESettings(**config.loss)
    if settings.train_encoder and not config.data.held_out:
        raise ValueError("latents are normalised by their spread over held-out clips; set data.held_out above 0")
    if not settings.train_encoder and not config.init:
        raise ValueError(
            "train_encoder=False trains the decoder of a VAE that is there; name its folder with config.init"
        )
    if not settings.train_encoder and config.optimiser.weight_decay:
        raise ValueError(
            "train_encoder=False leaves the encoder as it is, and weight decay would shrink it; set "
            f"optimiser.weight_decay to 0, got {config.optimiser.weight_decay:g}"
        )
    check_moving(settings.moving, build.items[0][0])
    return VAEStage(setup, settings, held_out=build.held_out(), samples=config.samples)


def _teacher(build: Build) -> Teacher:
    config, learners = build.config, {DIT: build.learner("init", DIT, build.config.optimiser)}
    settings = TeacherSettings(ODE(**config.ode), config.shift, config.dropout, config.moving)
    check_moving(settings.moving, build.items[0][0])
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
        settings,
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
