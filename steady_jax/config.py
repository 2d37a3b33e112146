"""From a ConfigDict to settings: tables of memory policies and models by name, and the keys of a sampling run."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict, config_dict

from steady_jax.block import BlockSettings
from steady_jax.checkpoint import Checkpoint
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.base import MemoryPolicy
from steady_jax.memory.ema_sink import EMASink
from steady_jax.memory.infinity_rope import InfinityRope
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.memory.v_sink import VSink
from steady_jax.models.umt5 import UMT5_SIZES, UMT5Config
from steady_jax.models.wan_dit import DIT_SIZES, DiTConfig
from steady_jax.models.wan_vae import VAEConfig

POLICIES: dict[str, type[MemoryPolicy]] = {
    "self_forcing": SelfForcing,
    "v_sink": VSink,
    "infinity_rope": InfinityRope,
    "ema_sink": EMASink,
    "steady": Steady,
}
# the rows of Steady-Forcing's ablation: what each changes of `steady`; window and block length stay the same
ABLATION: dict[str, dict[str, Any]] = {
    "none": {"sink": 0, "anchor": False, "ema": False, "flush": False, "scene_flush": False},
    "v_sink": {"ema": False, "flush": False, "scene_flush": False},
    "ema": {"anchor": False, "flush": False, "scene_flush": False},
    "dual": {"flush": False, "scene_flush": False},
    "dual_flush": {"flush": True, "scene_flush": True},
}


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
        DiTConfig(width=192, ffn_width=768, heads=6, layers=7, text_width=96, text_length=64, frequency_width=64),
        VAEConfig(
            width=32,
            multipliers=(1, 2, 2),
            res_blocks=1,
            temporal_downsample=(True, True),
            patch=2,
            shortcuts=True,
            temporal_kernels=(1, 3, 3),
        ),
        UMT5Config(vocabulary=512, width=96, ffn_width=192, heads=4, head_width=24, layers=2),
    ),
    "1.3b": ModelConfig(DIT_SIZES["1.3b"], VAEConfig(), UMT5_SIZES["xxl"]),
    "14b": ModelConfig(DIT_SIZES["14b"], VAEConfig(), UMT5_SIZES["xxl"]),
}


def sampling_of(config: ConfigDict) -> dict[str, Any]:
    """What of a config says how to sample a student: to be stored beside its weights."""
    keys = ("height", "width", "dtype", *student_keys(config.policy))
    return {key: config[key].to_dict() if key == "memory" else config[key] for key in keys}


def known(name: str, table: dict[str, Any], kind: str) -> Any:
    """Looks a name up.

    Raises:
        ValueError: lists the known names.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(sorted(table))}")
    return table[name]


def sampling_config(memory: str, model: str) -> ConfigDict:
    """All keys of a sampling run; config files change what differs.

    Args:
        memory: a policy, with its settings as published, or "ablation/ROW" for a row of Steady-Forcing's ablation.
        model: sizes of the networks.
    Raises:
        ValueError: an unknown name.
    """
    config = ConfigDict()
    # the text of the video, or a schedule of scenes: "Calm sea [5s] | Storm [10s#] | Calm sea"
    config.prompt = config_dict.placeholder(str)
    config.prompt_file = config_dict.placeholder(str)  # or a file with one of these per line, one video each
    config.scenes = config_dict.placeholder(str)  # or a scene file (YAML) of one video
    # what guidance steers away from: read by teachers, not by few-step sampling, which has no guidance
    config.negative_prompt = ""
    config.seconds = config_dict.placeholder(float)  # none: what the scenes add up to, or 5
    config.seed = 0
    config.image = config_dict.placeholder(str)  # a picture that the video starts from
    config.video = config_dict.placeholder(str)  # or a clip that it goes on from
    config.when_odd = "error"  # or "crop": what to do with a clip that does not fill whole blocks
    config.height = 480  # pixels
    config.width = 832
    config.model = model  # sizes of the networks, which a checkpoint must have; "": those of the checkpoint
    config.checkpoint = config_dict.placeholder(str)  # folder, or "tiny"; none or "": random weights
    config.output = "outputs"  # folder
    config.overwrite = False
    config.resume = False  # go on with what an earlier run left unfinished
    config.save_every = 600.0  # seconds between states from which a run can go on; 0: only when it is interrupted
    config.compact_states = False  # latents alone: smaller, but going on takes longer
    config.batch = 1  # videos made in step on each device; part of what a video is, down to roundings
    config.devices = config_dict.placeholder(int)  # of this process; none: all
    # several processes (hosts) that share the prompts: "0/4" is the first of four, "auto" asks the launcher
    config.part = config_dict.placeholder(str)
    config.update(student_keys(memory))
    config.dtype = "bfloat16"
    config.attention = "auto"  # backend, see steady_jax.nn.attention
    return config


def student_keys(memory: str) -> ConfigDict:
    """The keys that say how a student makes blocks, in sampling and in training.

    Args:
        memory: as in `sampling_config`.
    """
    policy, changes = _memory(memory)
    config = ConfigDict()
    config.policy = policy
    config.memory = ConfigDict(dataclasses.asdict(POLICIES[policy](**changes)))
    config.block_frames = 6  # latent frames denoised together
    config.steps = (1000, 750, 500, 250)  # timesteps of the denoise calls before the shift
    config.shift = 5.0
    config.context_timestep = 0.0  # what the refresh call tells the network about a finished block
    return config


def _memory(name: str) -> tuple[str, dict[str, Any]]:
    """A policy's name, and the settings in which it differs from the published ones."""
    rows = {f"ablation/{row}": changes for row, changes in ABLATION.items()}
    changes = known(name, {**{policy: {} for policy in POLICIES}, **rows}, "memory policy")
    return ("steady" if name in rows else name), changes


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
