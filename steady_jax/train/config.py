"""All keys of a training run, by stage; config files change what differs."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict, config_dict

from steady_jax.config import student_keys
from steady_jax.diffusion.ode import ODE
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.rewards import MotionReward
from steady_jax.train.stages.dmd import DMDSettings
from steady_jax.train.stages.teacher import TeacherSettings
from steady_jax.train.stages.vae import VAESettings

TRAINING = ("vae", "teacher", "ode_init", "dmd", "redmd")
WRITING = ("tokenizer", "encode", "ode_pairs", "compare")  # stages that write files instead of training a network
STAGES = (*TRAINING, *WRITING)
# what a run sees of its networks: folders that scripts/convert.py or an earlier stage (WORKDIR/model) made
FOLDERS = {
    "tokenizer": (),
    "vae": ("init",),
    "teacher": ("init", "vae", "text_encoder"),
    "encode": ("vae", "text_encoder"),
    "ode_pairs": ("teacher", "text_encoder"),
    "compare": ("teacher", "text_encoder"),
    "ode_init": ("init", "vae", "text_encoder"),
    "dmd": ("init", "critic", "teacher", "vae", "text_encoder"),
    "redmd": ("init", "critic", "teacher", "vae", "text_encoder"),
}


def train_config(stage: str, model: str, memory: str = "steady") -> ConfigDict:
    """All keys of a run of one stage.

    Args:
        stage: one of STAGES.
        model: sizes of networks that start with random weights, see steady_jax.config.MODELS.
        memory: of a student, as in `steady_jax.config.sampling_config`.
    Raises:
        ValueError: an unknown stage, model or memory.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known are {', '.join(STAGES)}")
    config = ConfigDict()
    config.stage = stage
    config.workdir = config_dict.placeholder(str)  # folder of the run
    config.seed = 0
    config.model = model
    config.height = 480  # pixels
    config.width = 832
    config.clip_frames = 21  # latent frames of a clip
    config.batch = 8  # items of a step, of all devices together
    config.dtype = "bfloat16"  # of matrix products and activations; weights in training are float32
    config.attention = "auto"
    # checkpoint folders; none: random weights for a teacher or VAE that is trained, an error for others
    for folder in FOLDERS[stage]:
        config[folder] = config_dict.placeholder(str)
    config.data = _data_keys()
    if stage in TRAINING:
        _training_keys(config)
    else:
        # processes that share the work without being joined: "0/4" is the first of four, "auto" asks the launcher
        config.part = config_dict.placeholder(str)
    {
        "vae": _vae_keys,
        "teacher": _teacher_keys,
        "tokenizer": _tokenizer_keys,
        "encode": _encode_keys,
        "ode_pairs": lambda config: _pairs_keys(config, memory),
        "compare": lambda config: _compare_keys(config, memory),
        "ode_init": lambda config: _rollout_keys(config, memory),
        "dmd": lambda config: _dmd_keys(config, memory, redmd=False),
        "redmd": lambda config: _dmd_keys(config, memory, redmd=True),
    }[stage](config)
    return config


def _data_keys() -> ConfigDict:
    data = ConfigDict()
    # "prompts", "clips", "shards", "nature_flow", "nature_prompts" or "descriptions", see steady_jax.data.sources
    data.kind = "prompts"
    data.path = config_dict.placeholder(str)
    data.held_out = 0  # items that are kept from training
    data.seed = 0  # of the items that are made, and of the stretches that are taken of clips
    return data


def _training_keys(config: ConfigDict) -> None:
    # processes that train together: "auto" (SLURM, GKE, TPU pods), or "HOST:PORT,RANK/COUNT"
    config.join = config_dict.placeholder(str)
    config.train_steps = 6000
    config.accumulate = 1  # micro-batches of a step
    config.mesh = ConfigDict({"data": 1, "fsdp": -1, "context": 1, "tensor": 1})  # devices; one may be -1: the rest
    config.cut = "all"  # over devices; "optimiser": weights whole on each, only optimiser states and averages cut
    config.remat = "layer"  # what the backward pass computes again, see steady_jax.models.wan_dit
    config.log_every = 10  # steps
    config.save_every = 500
    config.keep = 3  # checkpoints
    config.held_out_every = 0
    config.sample_every = 0
    config.sample_prompts = ()
    config.optimiser = ConfigDict(dataclasses.asdict(OptimiserSettings(learning_rate=1e-4)))


def _vae_keys(config: ConfigDict) -> None:
    config.loss = ConfigDict(dataclasses.asdict(VAESettings()))
    config.samples = 4  # reconstructions that are shown
    del config.sample_prompts
    del config.remat
    del config.attention


def _teacher_keys(config: ConfigDict) -> None:
    settings = dataclasses.asdict(TeacherSettings(ODE()))
    config.ode = ConfigDict(settings.pop("ode"))  # of samples
    config.update(settings)
    config.negative_prompt = ""
    config.train_text_encoder = False  # with it, as small models do; the data then have prompts
    config.tokenizer = config_dict.placeholder(str)  # folder with tokenizer.json; none: that of text_encoder


def _tokenizer_keys(config: ConfigDict) -> None:
    config.prompts = 10_000  # to learn from
    config.vocabulary = 512  # pieces at most
    for key in ("seed", "model", "height", "width", "clip_frames", "batch", "dtype", "attention", "part"):
        del config[key]


def _encode_keys(config: ConfigDict) -> None:
    config.records = 1024  # to write
    config.records_per_shard = 64
    del config.attention


def _pairs_keys(config: ConfigDict, memory: str) -> None:
    config.records = 1024  # to write; the prompts are gone through as often as it takes
    config.records_per_shard = 64
    config.ode = ConfigDict(dataclasses.asdict(ODE(steps=48)))
    config.negative_prompt = ""
    keys = student_keys(memory)
    config.steps, config.shift = keys.steps, keys.shift


def _compare_keys(config: ConfigDict, memory: str) -> None:
    config.update(student_keys(memory))
    config.students = ()  # "NAME=FOLDER" each; the first is compared with the others too
    config.prompts = 64  # held-out ones; of a file the last, which training leaves out with data.held_out
    config.each = 4  # samples per prompt and student, at least 2
    config.ode = ConfigDict(dataclasses.asdict(ODE()))
    config.negative_prompt = ""
    del config["part"]


def _rollout_keys(config: ConfigDict, memory: str) -> None:
    config.update(student_keys(memory))
    config.rollout_frames = config.clip_frames  # latent frames of a rollout; its last clip_frames are judged
    config.context_sigma = 0.0  # noise on which a finished block is stored in training; published: .00498


def _dmd_keys(config: ConfigDict, memory: str, *, redmd: bool) -> None:
    _rollout_keys(config, memory)
    # blocks from flush to flush in rollouts, which may be too short to see one otherwise; 0: as memory says
    config.rollout_flush_period = 0
    config.negative_prompt = ""
    settings: dict[str, Any] = dataclasses.asdict(DMDSettings())
    del settings["shift"]  # the student's
    config.teacher_model = config.model  # sizes of the teacher in a plan that names no folder, see scripts/plan.py
    config.dmd = ConfigDict(settings)
    config.critic_optimiser = ConfigDict(dataclasses.asdict(OptimiserSettings(learning_rate=4e-7)))
    config.optimiser.learning_rate = 2e-6
    config.optimiser.average, config.optimiser.average_from = 0.99, 200
    if redmd:
        config.reward = "motion"  # or "MODULE:FUNCTION", of frames uint8 [b f h w 3] on the host -> one number each
        config.motion = ConfigDict(dataclasses.asdict(MotionReward()))
    else:
        del config.dmd.beta
