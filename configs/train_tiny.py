r"""The whole training chain at a size for a plain CPU: from procedural clips to a distilled student, 64x64.

    for stage in tokenizer vae latents teacher ode_pairs ode_init dmd compare; do
        python scripts/train.py --config=configs/train_tiny.py:$stage
    done
    python scripts/sample.py --config=configs/tiny.py --checkpoint=runs/tiny/dmd/model --memory.window=9 \
        --prompt="Waves roll onto a black beach at dusk, fixed camera."

Each stage fills runs/tiny/STAGE and reads what those before it left; one that trains or writes records goes on with the
same command where it was stopped. What it takes and what comes out: docs/training.md.
"""

from pathlib import Path

from ml_collections import ConfigDict

from steady_jax.train.config import train_config

RUNS = Path("runs/tiny")
PROMPTS = (
    "Waves roll onto a black beach at dusk, fixed camera.",
    "A waterfall drops between mossy rocks on an overcast day, the camera does not move.",
    "A campfire burns at night under pine trees, static shot.",
    "Clouds drift over green hills at noon, fixed camera.",
)
STAGES = {  # what a person calls a stage here, and which stage of the trainer it is
    "tokenizer": "tokenizer",
    "vae": "vae",
    "latents": "encode",
    "teacher": "teacher",
    "ode_pairs": "ode_pairs",
    "ode_init": "ode_init",
    "dmd": "dmd",
    "compare": "compare",
}


def get_config(stage: str = "vae") -> ConfigDict:
    """Settings of one stage of the chain.

    Args:
        stage: "tokenizer", "vae", "latents", "teacher", "ode_pairs", "ode_init", "dmd" or "compare", to be run in this
            order.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known are {', '.join(STAGES)}")
    config = train_config(STAGES[stage], model="tiny")
    config.workdir = str(RUNS / stage)
    {
        "tokenizer": _tokenizer,
        "vae": _vae,
        "latents": _latents,
        "teacher": _teacher,
        "ode_pairs": _ode_pairs,
        "ode_init": _ode_init,
        "dmd": _dmd,
        "compare": _compare,
    }[stage](config)
    return config


def _tokenizer(config: ConfigDict) -> None:
    config.data.kind = "nature_prompts"


def _small(config: ConfigDict) -> None:
    config.height = config.width = 64
    config.clip_frames = 9  # 33 pixel frames, 2 seconds
    config.dtype = "float32"  # faster than bfloat16 on a CPU


def _log_often(config: ConfigDict) -> None:
    config.log_every, config.save_every, config.held_out_every, config.sample_every = 20, 100, 100, 500


def _vae(config: ConfigDict) -> None:
    _small(config)
    _log_often(config)
    config.clip_frames = 2  # 5 pixel frames: enough to learn both ways of coding a frame
    config.batch, config.train_steps = 8, 300
    config.data.kind, config.data.held_out = "nature_flow", 32
    config.optimiser.update(_adam(2e-3))


def _latents(config: ConfigDict) -> None:
    _small(config)
    config.vae = str(RUNS / "vae" / "model")
    config.data.kind = "nature_flow"
    config.batch, config.records, config.records_per_shard = 16, 2048, 256


def _teacher(config: ConfigDict) -> None:
    _small(config)
    _log_often(config)
    config.remat = "none"
    config.vae, config.tokenizer = str(RUNS / "vae" / "model"), str(RUNS / "tokenizer")
    config.train_text_encoder = True
    config.data.kind, config.data.path, config.data.held_out = "shards", str(RUNS / "latents"), 64
    config.batch, config.train_steps = 16, 900
    config.shift = config.ode.shift = 3.0
    config.ode.guidance = 1.5
    config.sample_prompts = PROMPTS
    config.optimiser.update(_adam(1e-3))
    config.optimiser.average = 0.998


def _ode_pairs(config: ConfigDict) -> None:
    _small(config)
    config.teacher = config.text_encoder = str(RUNS / "teacher" / "model")
    config.vae = str(RUNS / "vae" / "model")
    config.data.kind = "nature_prompts"
    config.batch, config.records, config.records_per_shard = 16, 512, 64
    config.ode.guidance = 1.5


def _student(config: ConfigDict) -> None:
    _small(config)
    _log_often(config)
    config.remat = "none"
    config.vae, config.text_encoder = str(RUNS / "vae" / "model"), str(RUNS / "teacher" / "model")
    config.block_frames = 3
    config.memory.window = 9
    config.rollout_frames = 9
    config.sample_prompts = PROMPTS


def _ode_init(config: ConfigDict) -> None:
    _student(config)
    config.init = str(RUNS / "teacher" / "model")
    config.data.kind, config.data.path, config.data.held_out = "shards", str(RUNS / "ode_pairs"), 64
    config.batch, config.train_steps = 16, 400
    config.optimiser.update(_adam(5e-4))


def _dmd(config: ConfigDict) -> None:
    _student(config)
    config.init = str(RUNS / "ode_init" / "model")
    config.critic = config.teacher = str(RUNS / "teacher" / "model")
    config.data.kind = "nature_prompts"
    config.batch, config.train_steps = 8, 400
    # at every noise level anew, guidance takes a student further than it takes the teacher's samples: a third of theirs
    config.dmd.guidance, config.dmd.generator_every = 0.5, 2
    config.optimiser.learning_rate, config.critic_optimiser.learning_rate = 1e-4, 2e-4
    config.optimiser.average, config.optimiser.average_from = 0.95, 100


def _compare(config: ConfigDict) -> None:
    _small(config)
    config.teacher = config.text_encoder = str(RUNS / "teacher" / "model")
    config.students = (f"dmd={RUNS / 'dmd' / 'model'}", f"ode_init={RUNS / 'ode_init' / 'model'}")
    config.data.kind, config.batch = "nature_prompts", 16
    config.block_frames, config.memory.window = 3, 9
    config.ode.guidance = 1.5


def _adam(learning_rate: float) -> dict:
    """For training from the start, not for distillation."""
    return {"learning_rate": learning_rate, "b1": 0.9, "schedule": "cosine", "warmup": 100, "clip": 1.0}
