r"""The whole training chain at a size for a plain CPU: from procedural clips to a distilled student, 64x64.

    for stage in tokenizer vae_images vae_short vae vae_decoder latents_short teacher_short latents_middle \
        teacher_middle latents teacher latents_long teacher_long ode_pairs ode_init dmd_short dmd compare; do
        python scripts/train.py --config=configs/train_tiny.py:$stage
    done
    python scripts/sample.py --config=configs/tiny.py --checkpoint=runs/tiny/dmd/model \
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
SHIFT = 3.0  # of noise levels; the real model's 5 is for pictures with a hundred times as many tokens
GUIDANCE = 1.5  # of the teacher's samples; the scale that others call 2.5
BLOCK = 3  # latent frames that the student makes together
# of the student, where it is not as published; without a periodic flush backgrounds stand stiller: docs/tiny.md
MEMORY = {"window": 12, "flush": False, "flush_warmup": 12, "alpha": 0.999}


def get_config(stage: str = "vae") -> ConfigDict:
    """Settings of one stage of the chain.

    Args:
        stage: one of STAGES, which are to be run in this order.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known are {', '.join(STAGES)}")
    kind, settle = STAGES[stage]
    config = train_config(kind, model="tiny")
    config.workdir = str(RUNS / stage)
    settle(config)
    return config


def _tokenizer(config: ConfigDict) -> None:
    config.data.kind = "nature_prompts"


def _small(config: ConfigDict) -> None:
    config.height = config.width = 64
    config.clip_frames = 9  # 33 pixel frames, 2 seconds
    config.dtype = "float32"  # faster than bfloat16 on a CPU


def _log_often(config: ConfigDict) -> None:
    config.log_every, config.save_every, config.held_out_every, config.sample_every = 20, 100, 100, 500


def _vae_images(config: ConfigDict) -> None:
    _reconstruct(config, frames=1, batch=20, steps=5000, rate=2e-3, held_out=100)


def _vae_short(config: ConfigDict) -> None:
    _reconstruct(config, frames=2, batch=14, steps=1100, rate=1.5e-3, held_out=70)
    config.init = str(RUNS / "vae_images" / "model")
    config.data.seed = 1


def _vae(config: ConfigDict) -> None:
    _reconstruct(config, frames=5, batch=4, steps=1500, rate=1e-3, held_out=80)
    config.init = str(RUNS / "vae_short" / "model")
    config.data.seed = 2


def _vae_decoder(config: ConfigDict) -> None:
    _reconstruct(config, frames=5, batch=4, steps=1500, rate=1e-3, held_out=80)
    config.init = str(RUNS / "vae" / "model")
    config.data.seed = 4
    config.loss.train_encoder = False  # latents stay what they are
    config.optimiser.weight_decay = 0.0
    config.loss.moving, config.loss.still = 1.0, 3.0


def _reconstruct(config: ConfigDict, *, frames: int, batch: int, steps: int, rate: float, held_out: int) -> None:
    _small(config)
    _log_often(config)
    config.clip_frames, config.batch, config.train_steps = frames, batch, steps
    config.data.kind, config.data.held_out = "nature_flow", held_out
    config.loss.moving = 2.0
    config.optimiser.update(_adam(rate))
    config.optimiser.average = 0.99


def _latents_short(config: ConfigDict) -> None:
    _encode(config, frames=3, records=16384)


def _latents_middle(config: ConfigDict) -> None:
    _encode(config, frames=9, records=6144)
    config.data.seed = 1


def _latents(config: ConfigDict) -> None:
    _encode(config, frames=21, records=2560)
    config.data.seed = 2


def _latents_long(config: ConfigDict) -> None:
    _encode(config, frames=21, records=5120)
    config.data.seed = 3


def _encode(config: ConfigDict, *, frames: int, records: int) -> None:
    _small(config)
    config.clip_frames = frames
    config.vae = str(RUNS / "vae" / "model")
    config.data.kind = "nature_flow"
    config.batch, config.records, config.records_per_shard = 16, records, 512


def _teacher_short(config: ConfigDict) -> None:
    _flow(config, "latents_short", frames=3, batch=48, steps=3000, rate=1.5e-3)
    config.tokenizer = str(RUNS / "tokenizer")


def _teacher_middle(config: ConfigDict) -> None:
    _flow(config, "latents_middle", frames=9, batch=16, steps=3000, rate=1e-3)
    config.init = config.text_encoder = str(RUNS / "teacher_short" / "model")


def _teacher(config: ConfigDict) -> None:
    _flow(config, "latents", frames=21, batch=8, steps=1500, rate=5e-4)
    config.init = config.text_encoder = str(RUNS / "teacher_middle" / "model")


def _teacher_long(config: ConfigDict) -> None:
    _flow(config, "latents_long", frames=21, batch=8, steps=4500, rate=1e-3)
    config.init = config.text_encoder = str(RUNS / "teacher" / "model")
    config.train_text_encoder = False  # students learn beside it
    config.moving = 1.0  # what moves is learnt by now, and it is the background that has to stand stiller
    config.sample_every = 1500


def _flow(config: ConfigDict, latents: str, *, frames: int, batch: int, steps: int, rate: float) -> None:
    _small(config)
    _log_often(config)
    config.remat = "none"
    config.vae = str(RUNS / "vae" / "model")
    config.train_text_encoder = True
    config.data.kind, config.data.path, config.data.held_out = "shards", str(RUNS / latents), 96
    config.clip_frames, config.batch, config.train_steps = frames, batch, steps
    config.shift = config.ode.shift = SHIFT
    config.ode.guidance = GUIDANCE
    config.moving = 2.0
    config.sample_prompts = PROMPTS
    config.optimiser.update(_adam(rate))
    config.optimiser.average = 0.998


def _ode_pairs(config: ConfigDict) -> None:
    _small(config)
    # of 9 latent frames the teacher that ended with such clips knows more: held-out loss .787, the next one's is .843
    config.teacher, config.text_encoder = str(RUNS / "teacher_middle" / "model"), str(RUNS / "teacher" / "model")
    config.vae = str(RUNS / "vae" / "model")
    config.data.kind = "nature_prompts"
    config.batch, config.records, config.records_per_shard = 16, 1024, 128
    config.shift = config.ode.shift = SHIFT
    config.ode.guidance = GUIDANCE


def _student(config: ConfigDict, *, clip: int, rollout: int) -> None:
    _small(config)
    _log_often(config)
    config.remat = "none"
    config.vae, config.text_encoder = str(RUNS / "vae_decoder" / "model"), str(RUNS / "teacher" / "model")
    config.clip_frames, config.rollout_frames = clip, rollout
    config.block_frames, config.shift = BLOCK, SHIFT
    config.memory.update(MEMORY)
    config.sample_prompts = PROMPTS


def _ode_init(config: ConfigDict) -> None:
    _student(config, clip=9, rollout=9)
    config.init = str(RUNS / "teacher_middle" / "model")
    config.data.kind, config.data.path, config.data.held_out = "shards", str(RUNS / "ode_pairs"), 64
    config.batch, config.train_steps = 16, 800
    config.optimiser.update(_adam(5e-4))


def _dmd_short(config: ConfigDict) -> None:
    _student(config, clip=9, rollout=9)
    # at every noise level anew, guidance takes a student further than it takes the teacher's samples: a third of theirs
    _distil(config, "ode_init", "teacher_middle", steps=1600, guidance=GUIDANCE / 3)


def _dmd(config: ConfigDict) -> None:
    _student(config, clip=21, rollout=21)  # longer than the window: eviction and averages are trained too
    config.rollout_flush_period = 5  # blocks; so is a flush: new scenes begin with one
    # guidance makes teachers less still: half of that of short clips
    _distil(config, "dmd_short", "teacher_long", steps=600, guidance=GUIDANCE / 6)
    config.data.seed = 1


def _distil(config: ConfigDict, init: str, teacher: str, *, steps: int, guidance: float) -> None:
    config.init = str(RUNS / init / "model")
    config.critic = config.teacher = str(RUNS / teacher / "model")
    config.data.kind = "nature_prompts"
    config.batch, config.train_steps = 8, steps
    config.dmd.guidance, config.dmd.generator_every = guidance, 2
    config.optimiser.learning_rate, config.critic_optimiser.learning_rate = 1e-4, 2e-4
    config.optimiser.average, config.optimiser.average_from = 0.98, 100


def _compare(config: ConfigDict) -> None:
    _small(config)
    config.clip_frames = 21  # longer than the window
    config.teacher, config.text_encoder = str(RUNS / "teacher_long" / "model"), str(RUNS / "teacher" / "model")
    config.students = tuple(f"{name}={RUNS / name / 'model'}" for name in ("dmd", "dmd_short", "ode_init"))
    config.data.kind, config.batch = "nature_prompts", 16
    config.block_frames, config.shift, config.ode.shift = BLOCK, SHIFT, SHIFT
    config.memory.update(MEMORY)
    config.ode.guidance = GUIDANCE


def _adam(learning_rate: float) -> dict:
    """For training from the start, not for distillation."""
    return {"learning_rate": learning_rate, "b1": 0.9, "schedule": "cosine", "warmup": 100, "clip": 1.0}


STAGES = {  # what a person calls a stage here: which stage of the trainer it is, and its settings
    "tokenizer": ("tokenizer", _tokenizer),
    "vae_images": ("vae", _vae_images),
    "vae_short": ("vae", _vae_short),
    "vae": ("vae", _vae),
    "vae_decoder": ("vae", _vae_decoder),
    "latents_short": ("encode", _latents_short),
    "teacher_short": ("teacher", _teacher_short),
    "latents_middle": ("encode", _latents_middle),
    "teacher_middle": ("teacher", _teacher_middle),
    "latents": ("encode", _latents),
    "teacher": ("teacher", _teacher),
    "latents_long": ("encode", _latents_long),
    "teacher_long": ("teacher", _teacher_long),
    "ode_pairs": ("ode_pairs", _ode_pairs),
    "ode_init": ("ode_init", _ode_init),
    "dmd_short": ("dmd", _dmd_short),
    "dmd": ("dmd", _dmd),
    "compare": ("compare", _compare),
}
