r"""Distillation of Steady-Forcing's 1.3B student from Wan2.1-14B, 21 latent frames at 480x832.

    python scripts/train.py --config=configs/distill_steady_1_3b.py --workdir=runs/steady \
        --init=checkpoints/reward-1.3b --critic=checkpoints/wan-1.3b --teacher=checkpoints/wan-14b \
        --vae=checkpoints/wan-1.3b --text_encoder=checkpoints/wan-1.3b

Prompts are made as they are asked for (steady_jax/data/descriptions); those of a file: --data.kind=prompts
--data.path=FILE.

As published (the config's argument "published", the default): memory whose window is the clip, so that nothing is ever
evicted in training. "inference" trains the memory that sampling has, window 18 with its averages, over rollouts of 84
frames of which the last 21 are judged. Needs accelerators: docs/planning.md says which slices of TPUs it fits.
"""

from pathlib import Path

from ml_collections import ConfigDict

from steady_jax.train.config import train_config

PROMPTS = Path(__file__).parent / "prompts"


def get_config(recipe: str = "published") -> ConfigDict:
    """Settings of the distillation.

    Args:
        recipe: "published" or "inference", see above.
    """
    if recipe not in ("published", "inference"):
        raise ValueError(f"unknown recipe {recipe!r}; known are published, inference")
    config = train_config("dmd", model="1.3b", memory="steady")
    config.data.kind = "descriptions"
    config.negative_prompt = (PROMPTS / "wan_negative.txt").read_text(encoding="utf-8").strip()
    config.sample_every = 500
    config.sample_prompts = tuple((PROMPTS / "nature.txt").read_text(encoding="utf-8").splitlines()[:4])
    config.teacher_model = "14b"
    config.block_frames = 3
    if recipe == "published":
        config.memory.window = config.clip_frames
        config.context_sigma = 0.00498  # the smallest of the schedule: what the published training stores blocks on
    else:
        config.rollout_frames = 4 * config.clip_frames  # 28 blocks: the flush of block 21 is among them
    config.dmd.guidance = 5.0
    config.batch = 8
    config.train_steps = 6000
    return config
