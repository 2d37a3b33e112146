"""From a ConfigDict to settings: the table of memory policies, the sizes of models by name, and the keys of a sampling
run.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict, config_dict

from steady_jax.block import BlockSettings
from steady_jax.checkpoint import Checkpoint
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.base import MemoryPolicy
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.models.umt5 import UMT5_SIZES, UMT5Config
from steady_jax.models.wan_dit import DIT_SIZES, DiTConfig
from steady_jax.models.wan_vae import VAEConfig

POLICIES: dict[str, type[MemoryPolicy]] = {"self_forcing": SelfForcing, "steady": Steady}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks that make up one model, and how they compute."""

    dit: DiTConfig
    vae: VAEConfig
    text_encoder: UMT5Config

    def __post_init__(self) -> None:
        if self.dit.channels != self.vae.channels:
            raise ValueError(
                f"transformer and VAE must share their latent channels, got {self.dit.channels} and {self.vae.channels}"
            )
        if self.dit.text_width != self.text_encoder.width:
            raise ValueError(
                "the transformer's text_width must be the text encoder's width, "
                f"got {self.dit.text_width} and {self.text_encoder.width}"
            )

    @classmethod
    def from_checkpoint(cls, found: Checkpoint, *, dtype: str, attention: str) -> "ModelConfig":
        """The sizes of a checkpoint's networks, to be computed in `dtype` with the backend `attention`."""
        return cls(
            found.parts["dit"].config(DiTConfig, dtype=dtype, attention=attention),
            found.parts["vae"].config(VAEConfig, dtype=dtype),
            found.parts["text_encoder"].config(UMT5Config, dtype=dtype),
        )

    def computing_in(self, dtype: str, attention: str) -> "ModelConfig":
        """The same sizes, computed in another dtype and with another attention backend."""
        return ModelConfig(
            dataclasses.replace(self.dit, dtype=dtype, attention=attention),
            dataclasses.replace(self.vae, dtype=dtype),
            dataclasses.replace(self.text_encoder, dtype=dtype),
        )

    @property
    def pixel_stride(self) -> int:
        """Height and width of a video are multiples of this many pixels."""
        return self.vae.spatial_stride * self.dit.patch


MODELS = {
    "tiny": ModelConfig(
        DiTConfig(width=128, ffn_width=256, heads=4, layers=4, text_width=64, text_length=256, frequency_width=64),
        VAEConfig(width=16),
        UMT5Config(vocabulary=512, width=64, ffn_width=128, heads=4, head_width=16, layers=2),
    ),
    "1.3b": ModelConfig(DIT_SIZES["1.3b"], VAEConfig(), UMT5_SIZES["xxl"]),
    "14b": ModelConfig(DIT_SIZES["14b"], VAEConfig(), UMT5_SIZES["xxl"]),
}


def known(name: str, table: dict[str, Any], kind: str) -> Any:
    """Looks a name up.

    Raises:
        ValueError: lists the known names.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(sorted(table))}")
    return table[name]


def sampling_config(policy: str, model: str) -> ConfigDict:
    """All keys of a sampling run with the settings of a policy as published; config files change what differs."""
    config = ConfigDict()
    config.prompt = config_dict.placeholder(str)  # the text of the video
    config.prompt_file = config_dict.placeholder(str)  # or a file with one prompt per line, one video each
    # what guidance steers away from: read by teachers, not by few-step sampling, which has no guidance
    config.negative_prompt = ""
    config.seconds = 5.0
    config.seed = 0
    config.height = 480  # pixels
    config.width = 832
    config.model = model  # sizes of the networks; a checkpoint must have them
    config.checkpoint = config_dict.placeholder(str)  # folder written by scripts/convert.py
    config.output = "outputs"  # folder
    config.overwrite = False
    config.policy = policy
    config.memory = ConfigDict(dataclasses.asdict(known(policy, POLICIES, "memory policy")()))
    config.block_frames = 6  # latent frames denoised together
    config.steps = (1000, 750, 500, 250)  # timesteps of the denoise calls before the shift
    config.shift = 5.0
    config.context_timestep = 0.0  # what the refresh call tells the network about a finished block
    config.dtype = "bfloat16"
    config.attention = "auto"  # backend, see steady_jax.nn.attention
    return config


def block_settings(config: ConfigDict) -> BlockSettings:
    """The settings of one block from a sampling config."""
    policy_class = known(config.policy, POLICIES, "memory policy")
    fields = {field.name for field in dataclasses.fields(policy_class)}
    if set(config.memory) != fields:
        raise ValueError(
            f"config.memory holds settings of another policy than {config.policy}; "
            f"choose the policy with the config file: --config=FILE.py:{config.policy}"
        )
    policy = policy_class(**config.memory)
    calls = FewSteps(tuple(config.steps), config.shift, config.context_timestep)
    return BlockSettings(policy, calls, config.block_frames)
