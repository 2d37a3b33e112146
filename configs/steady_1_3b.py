r"""Steady-Forcing as published: the 1.3B student at 480x832, 6 frames per block, window 18, sink 3, alpha 0.99.

    python scripts/sample.py --config=configs/steady_1_3b.py --config.checkpoint=checkpoints/steady-1.3b \
        --config.prompt_file=configs/prompts/nature.txt --config.seconds=60

needs a checkpoint folder made by scripts/convert.py, and a GPU or TPU: see docs/benchmarks.md for memory and speed.
"""

from pathlib import Path

from ml_collections import ConfigDict

from steady_jax.config import sampling_config

PROMPTS = Path(__file__).parent / "prompts"


def get_config(memory: str = "steady") -> ConfigDict:
    """Settings of a sampling run.

    Args:
        memory: a policy ("self_forcing", "v_sink", "infinity_rope", "ema_sink", "steady"), or a row of the ablation
            ("ablation/none", "ablation/v_sink", "ablation/ema", "ablation/dual", "ablation/dual_flush").
    """
    config = sampling_config(memory, model="1.3b")
    if config.policy != "steady":
        config.block_frames = 3  # as published
    config.negative_prompt = (PROMPTS / "wan_negative.txt").read_text(encoding="utf-8").strip()
    return config
