r"""Steady-Forcing as published: the 1.3B student at 480x832, 6 frames per block, window 18, sink 3, alpha 0.99.

    python scripts/sample.py --config=configs/steady_1_3b.py --config.checkpoint=checkpoints/steady-1.3b \
        --config.prompt_file=configs/prompts/nature.txt --config.seconds=60

needs a checkpoint folder made by scripts/convert.py, and a GPU or TPU: see docs/benchmarks.md for memory and speed.
"""

from pathlib import Path

from ml_collections import ConfigDict

from steady_jax.config import sampling_config

PROMPTS = Path(__file__).parent / "prompts"


def get_config(policy: str = "steady") -> ConfigDict:
    """Settings of a sampling run.

    Args:
        policy: memory policy, "steady" or "self_forcing".
    """
    config = sampling_config(policy, model="1.3b")
    if policy == "self_forcing":
        config.block_frames = 3  # as published; its window of 21 holds seven such blocks
    config.negative_prompt = (PROMPTS / "wan_negative.txt").read_text(encoding="utf-8").strip()
    return config
