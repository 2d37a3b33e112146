"""The evaluation of the tiny model as a person runs it, on random weights: all is made, measured and written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_trial import write_inputs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STUDENTS = ("own_words", "steady", "window", "steady_long", "window_long")
SOURCES = ("procedural", "frozen", "reconstruction", "teacher", *STUDENTS)
FEW = (
    *("--kinds=('sea', 'fire')", "--prompts=3", "--long_prompts=1", "--batch=2", "--seconds=5"),
    *("--long_seconds=6", "--teacher_steps=2"),
)


def test_every_source_is_measured_once(tmp_path):
    write_inputs(tmp_path)
    assert evaluate(tmp_path).returncode == 0
    found = tmp_path / "found"
    for source in SOURCES:
        for kind in ("sea", "fire"):
            rows = json.loads((found / f"{source}-{kind}.json").read_text())
            assert len(rows) == {"own_words": 4, "steady_long": 1, "window_long": 1}.get(source, 3)
            assert all(row["kind"] == kind for row in rows)
            assert ("energy_ratio_true" in rows[0]["whole"]) == (source in ("procedural", "reconstruction"))
            assert (found / f"{source}-{kind}.png").stat().st_size > 1000
    rows = json.loads((found / "procedural-sea.json").read_text())
    assert all(row["whole"]["background_psnr"] > 30 for row in rows)
    assert "| steady | 6 |" in (found / "report.md").read_text()
    times = {file: file.stat().st_mtime_ns for file in found.glob("*-*.json")}
    (found / "teacher-fire.json").unlink()
    assert evaluate(tmp_path).returncode == 0
    again = {file for file in found.glob("*-*.json") if times.get(file) != file.stat().st_mtime_ns}
    assert again == {found / "teacher-fire.json"}
    refused = evaluate(tmp_path, "--seed=1")
    assert refused.returncode == 2
    assert "seed: 0 -> 1" in refused.stderr


def evaluate(folder, *words):
    words = ("--checkpoint=model", "--teacher=model", "--classifier=classifier.npz", "--workdir=found", *FEW, *words)
    command = [sys.executable, str(ROOT / "scripts/evaluate_tiny.py"), f"--config={ROOT}/configs/evaluate_tiny.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([*command, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
