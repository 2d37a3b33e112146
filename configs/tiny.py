"""The model that comes with the package, at 64x64, for a plain CPU: faster than it plays.

    python scripts/sample.py --config=configs/tiny.py --config.prompt="Waves roll onto a black beach, fixed camera."

writes an mp4, a WebP preview and a JSON with the settings into outputs/. What the model can show: docs/tiny.md.
--config.checkpoint=FOLDER names another of its size, one that train_tiny.py made; an empty name means random weights.
Another memory policy is the config's argument: --config=configs/tiny.py:infinity_rope; it is trained with `steady`.
"""

from ml_collections import ConfigDict

from steady_jax.config import sampling_config


def get_config(memory: str = "steady") -> ConfigDict:
    """Settings of a sampling run; those of `steady` are what the student's folder says too.

    Args:
        memory: a policy ("self_forcing", "v_sink", "infinity_rope", "ema_sink", "steady"), or a row of the ablation
            ("ablation/none", "ablation/v_sink", "ablation/ema", "ablation/dual", "ablation/dual_flush").
    """
    config = sampling_config(memory, model="tiny")
    config.checkpoint = "tiny"
    config.height = config.width = 64
    config.block_frames, config.memory.window, config.shift = 3, 12, 3.0
    if config.policy == "steady":
        config.memory.update(flush_warmup=12, alpha=0.999)  # as in train_tiny.py
    if memory == "steady":
        config.memory.flush = False  # but at new scenes; what a periodic flush costs this model: docs/tiny.md
    if config.policy == "self_forcing":
        config.memory.rolling = True  # or videos end after 12 latent frames
    config.dtype = "float32"  # faster than bfloat16 on a CPU
    return config
