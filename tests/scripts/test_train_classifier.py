"""scripts/train_classifier.py as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

from steady_jax.data.nature_flow import KINDS
from steady_jax.evaluation import classifier

ROOT = Path(__file__).parents[2]


def ran(*arguments):
    command = [sys.executable, str(ROOT / "scripts" / "train_classifier.py"), *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def test_it_writes_weights_and_a_table_and_then_refuses_to_write_again(tmp_path):
    output = tmp_path / "made" / "weights.npz"
    small = ("--steps=2", "--batch=2", "--size=16", "--tested=1")
    first = ran(f"--output={output}", *small)
    assert first.returncode == 0, first.stderr
    assert "step 2/2" in first.stderr
    assert "of 9 held-out clips are named right" in first.stdout
    assert sum(line.startswith(tuple(KINDS)) for line in first.stdout.splitlines()) == 9
    assert classifier.load(output).kinds == KINDS
    written = output.read_bytes()
    again = ran(f"--output={output}", *small)
    assert again.returncode != 0
    assert "exists and stays as it is" in again.stderr + again.stdout
    assert output.read_bytes() == written
    assert [path.name for path in output.parent.iterdir()] == ["weights.npz"]
