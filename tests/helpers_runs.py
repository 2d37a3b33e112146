"""scripts/train.py as a person runs it: DMD of tiny networks with random weights, in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from helpers_text import write_tiny_tokenizer
from helpers_train import lines

from steady_jax import checkpoint, parameters
from steady_jax.checkpoint import new_folder, save_component, save_description, save_tokenizer
from steady_jax.models.umt5 import UMT5Config, UMT5Encoder
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.models.wan_vae import VAEConfig, WanVAE
from steady_jax.train.log import TIMES

ROOT = Path(__file__).parents[1]
VOCABULARY = 96
NETWORKS = {
    "dit": (
        WanDiT,
        DiTConfig(width=32, ffn_width=48, heads=2, layers=2, text_width=48, text_length=16, frequency_width=32),
    ),
    "vae": (WanVAE, VAEConfig(width=4, multipliers=(1, 2, 2), res_blocks=1, temporal_downsample=(True, True), patch=2)),
    "text_encoder": (
        UMT5Encoder,
        UMT5Config(vocabulary=VOCABULARY, width=48, ffn_width=32, heads=2, head_width=8, layers=1),
    ),
}
PROMPTS = (
    "The sea.",
    "Rain on the river.",
    "Fog over the sea.",
    "Snow and fire.",
    "A wave.",
    "The light on the river.",
)


def write_model(folder: Path, seed: int) -> Path:
    """A whole checkpoint folder with random weights; scales of norms are near 1."""
    random = np.random.default_rng(seed)
    with new_folder(folder) as draft:
        parts = [save_tokenizer(draft, write_tiny_tokenizer(folder.with_name(f"{folder.name}-tokenizer"), VOCABULARY))]
        for name, (kind, config) in NETWORKS.items():
            shapes = {path: leaf.shape for path, leaf in parameters.named(parameters.abstract(kind, config)).items()}
            arrays = (
                (path, np.float32(random.normal("norm" in path or "gamma" in path, 0.15, shape)))
                for path, shape in shapes.items()
            )
            parts.append(save_component(draft, name, config, arrays))
        save_description(draft, parts)
    return folder


def write_inputs(folder: Path) -> Path:
    """What a run of DMD reads: a student, a teacher, and prompts."""
    write_model(folder / "student", 1)
    write_model(folder / "teacher", 2)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return folder


def training(inputs: Path, workdir: Path, steps: int, *more: str) -> list[str]:
    """The command of a run with two blocks of two latent frames, and evictions."""
    asked = {
        "workdir": workdir,
        "train_steps": steps,
        "init": inputs / "student",
        **dict.fromkeys(("critic", "teacher", "vae", "text_encoder"), inputs / "teacher"),
        "data.kind": "prompts",
        "data.path": inputs / "prompts.txt",
        "batch": 8,
        **dict.fromkeys(("height", "width"), 32),
        **dict.fromkeys(("clip_frames", "rollout_frames"), 4),
        "block_frames": 2,
        "memory.window": 3,
        "memory.sink": 1,
        **dict.fromkeys(("memory.flush", "memory.scene_flush"), False),
        "memory.flush_keep": 2,
        "steps": (1000, 500),
        "dmd.generator_every": 2,
        "optimiser.average_from": 3,
        "log_every": 1,
        "save_every": 3,
        "sample_every": 0,
        "keep": 2,
    }
    words = [f"--config.{key}={value}" for key, value in asked.items()]
    return [
        sys.executable,
        str(ROOT / "scripts" / "train.py"),
        "--config=configs/train_tiny.py:dmd_short",
        *words,
        *more,
    ]


def environment(compiled: Path, devices: int = 1) -> dict[str, str]:
    """Of a process with some virtual devices; what is compiled is kept for the next one."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles sooner
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }


def begun(command: list[str], settings: dict[str, str], output: Path) -> subprocess.Popen:
    """Starts a process that writes what it says to a file, so that nobody has to read it."""
    with output.open("a") as file:
        return subprocess.Popen(command, cwd=ROOT, env=settings, stdout=file, stderr=subprocess.STDOUT)


def finished(command: list[str], settings: dict[str, str]) -> str:
    """Runs a process to its end. Returns what it said."""
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def timeless(workdir: Path) -> list[dict[str, float]]:
    """The log without the fields that differ from run to run."""
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines(workdir)]


def student_of(folder: Path) -> dict[str, np.ndarray]:
    """The transformer of a checkpoint folder by path."""
    stored = checkpoint.StoredArrays(folder, "dit")
    return {path: np.asarray(stored[path]) for path in stored}
