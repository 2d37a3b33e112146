r"""Distillation of the students that Steady-Forcing builds on, from Wan2.1-14B or -1.3B, as published.

    python scripts/train.py --config=configs/distill_forcing_1_3b.py:reward_forcing --workdir=runs/reward \
        --init=checkpoints/ode-1.3b --critic=checkpoints/wan-1.3b --teacher=checkpoints/wan-14b \
        --vae=checkpoints/wan-1.3b --text_encoder=checkpoints/wan-1.3b

The config's argument is "self_forcing", "infinite_forcing" (a window with its first frame kept) or "reward_forcing"
(averages of what leaves, and items weighed by how well they move). Blocks of 3 frames, guidance 3, batch 64.
Prompts are made as they are asked for (steady_jax/data/descriptions); those of a file: --data.kind=prompts
--data.path=FILE.
"""

from pathlib import Path

from ml_collections import ConfigDict

from steady_jax.train.config import train_config

PROMPTS = Path(__file__).parent / "prompts"
RECIPES = {  # stage of the trainer, memory
    "self_forcing": ("dmd", "self_forcing"),
    "infinite_forcing": ("dmd", "v_sink"),
    "reward_forcing": ("redmd", "ema_sink"),
}


def get_config(recipe: str = "self_forcing") -> ConfigDict:
    """Settings of the distillation.

    Args:
        recipe: "self_forcing", "infinite_forcing" or "reward_forcing".
    """
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; known are {', '.join(RECIPES)}")
    stage, memory = RECIPES[recipe]
    config = train_config(stage, model="1.3b", memory=memory)
    config.data.kind = "descriptions"
    config.negative_prompt = (PROMPTS / "wan_negative.txt").read_text(encoding="utf-8").strip()
    config.sample_every = 500
    config.sample_prompts = tuple((PROMPTS / "nature.txt").read_text(encoding="utf-8").splitlines()[:4])
    config.block_frames = 3
    config.memory.window = config.clip_frames
    config.context_sigma = 0.00498  # the smallest of the schedule: what the published training stores blocks on
    config.dmd.guidance = 3.0
    config.batch = 64
    return config
