"""The evaluation of the tiny model as a person runs it, on random weights: all is made, measured and written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from helpers_text import write_tiny_tokenizer

from steady_jax import checkpoint, parameters
from steady_jax.config import MODELS, sampling_config, sampling_of
from steady_jax.data.nature_flow import KINDS
from steady_jax.evaluation import classifier
from steady_jax.pipeline import NETWORKS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOURCES = ("procedural", "reconstruction", "teacher", "own_words", "steady", "window", "steady_long", "window_long")
FEW = (
    *("--kinds=('sea', 'fire')", "--prompts=3", "--long_prompts=1", "--batch=2", "--seconds=5"),
    *("--long_seconds=6", "--teacher_steps=2"),
)


def test_every_source_is_measured_once(tmp_path):
    write_model(tmp_path / "model", write_tiny_tokenizer(tmp_path / "pieces"))
    classifier.save(classifier.Classifier(KINDS, rngs=nnx.Rngs(0)), tmp_path / "classifier.npz")
    evaluate(tmp_path)
    found = tmp_path / "found"
    for source in SOURCES:
        for kind in ("sea", "fire"):
            rows = json.loads((found / f"{source}-{kind}.json").read_text())
            assert len(rows) == {"own_words": 4, "steady_long": 1, "window_long": 1}.get(source, 3)
            assert all({"prompt", "first_named", "last_named", "first", "whole"} <= set(row) for row in rows)
            assert (found / f"{source}-{kind}.png").stat().st_size > 1000
    rows = json.loads((found / "procedural-sea.json").read_text())
    assert all(row["whole"]["background_psnr"] > 30 for row in rows)
    assert "| steady | 6 |" in (found / "report.md").read_text()
    times = {file: file.stat().st_mtime_ns for file in found.glob("*.json")}
    (found / "teacher-fire.json").unlink()
    evaluate(tmp_path)
    assert {file for file in found.glob("*.json") if times.get(file) != file.stat().st_mtime_ns} == {
        found / "teacher-fire.json"
    }


def write_model(folder, tokenizer):
    config = sampling_config("steady", "tiny")
    config.height = config.width = 64
    config.block_frames, config.memory.window, config.dtype = 3, 9, "float32"
    model = MODELS["tiny"].computing_in("float32", "auto")
    with checkpoint.new_folder(folder) as draft:
        parts = [checkpoint.save_tokenizer(draft, tokenizer)]
        for name, network in NETWORKS.items():
            sizes = getattr(model, name)
            arrays = parameters.named(parameters.random(network, sizes, seed=0, dtype=np.float32))
            pairs = ((path, np.asarray(array)) for path, array in arrays.items())
            parts.append(checkpoint.save_component(draft, name, sizes, pairs))
        checkpoint.save_description(draft, parts, sampling_of(config))


def evaluate(folder):
    words = ("--checkpoint=model", "--teacher=model", "--classifier=classifier.npz", "--folder=found", *FEW)
    command = [sys.executable, str(ROOT / "scripts/evaluate_tiny.py"), f"--config={ROOT}/configs/evaluate_tiny.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([*command, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
