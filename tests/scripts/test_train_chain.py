"""The tiny chain as a person runs it: every stage through scripts/train.py, then a video of the student."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from steady_jax import checkpoint
from steady_jax.data.records import Shards

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZE = ("--height=32", "--width=32")
SMALL = (*SIZE, "--clip_frames=3")
FEW = ("--train_steps=2", "--batch=2", "--log_every=1", "--save_every=2", "--held_out_every=1", "--sample_every=2")
SHORT = ("--optimiser.warmup=0",)
RECONSTRUCT = ("--data.held_out=2", *FEW, *SHORT, *SIZE)
RECORDS = ("--records=6", "--records_per_shard=3", "--batch=2", *SMALL)
FLOW = ("--data.held_out=2", *FEW, *SHORT, *SMALL)
STUDENT = ("--data.held_out=0", "--rollout_frames=3", *FEW, *SMALL)
FLUSH = ("--rollout_flush_period=2", "--memory.flush_warmup=6")
STAGES = {
    "tokenizer": ("--prompts=50", "--vocabulary=300"),
    "vae_images": RECONSTRUCT,
    "vae_short": RECONSTRUCT,
    "vae": RECONSTRUCT,
    "vae_decoder": RECONSTRUCT,
    "latents_short": RECORDS,
    "teacher_short": FLOW,
    "latents_middle": RECORDS,
    "teacher_middle": FLOW,
    "latents": RECORDS,
    "teacher": FLOW,
    "latents_long": RECORDS,
    "teacher_long": FLOW,
    "ode_pairs": (*RECORDS, "--ode.steps=4"),
    "ode_init": (*STUDENT, *SHORT),
    "dmd_short": STUDENT,
    "dmd": ("--data.held_out=0", *FEW, *SIZE, "--clip_frames=6", "--rollout_frames=9", *FLUSH),
    "compare": ("--prompts=2", "--each=2", "--batch=2", "--ode.steps=2", *SMALL),
}


def script(name, *words, folder):
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *words]
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **kept}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (name, words, done.stdout[-2000:], done.stderr[-4000:])
    return done.stdout + done.stderr


def train(stage, folder, *more):
    config = f"--config={ROOT / 'configs' / 'train_tiny.py'}:{stage}"
    return script("train", config, *STAGES[stage], *more, folder=folder)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The folder in which all stages ran, in order."""
    folder = tmp_path_factory.mktemp("chain")
    for stage in STAGES:
        train(stage, folder)
    return folder


def test_every_stage_leaves_what_the_next_one_reads(chain):
    runs = chain / "runs" / "tiny"
    assert len(Shards(runs / "latents")) == len(Shards(runs / "ode_pairs")) == 6
    parts = {stage: set(checkpoint.describe(runs / stage / "model").parts) for stage in ("ode_init", "dmd")}
    assert all(found == set(checkpoint.PARTS) for found in parts.values())
    for stage in ("vae", "teacher", "ode_init", "dmd"):
        lines = [json.loads(line) for line in (runs / stage / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if any(name.endswith("loss") for name in line)]
        assert np.isfinite([value for line in lines for value in line.values() if isinstance(value, float)]).all()
        assert list((runs / stage / "samples").rglob("*.mp4"))
    distances = json.loads((runs / "compare" / "distances.json").read_text())["energy distance"]
    assert {"dmd", "ode_init"} <= set(distances)


def test_a_finished_stage_says_so_and_changes_nothing(chain):
    model = chain / "runs" / "tiny" / "dmd" / "model" / checkpoint.DESCRIPTION
    before = model.stat().st_mtime_ns
    assert "is finished: 2 steps" in train("dmd", chain)
    assert model.stat().st_mtime_ns == before


def test_rewards_weigh_the_same_student(chain):
    code = "def score(frames):\n    return frames.mean((1, 2, 3, 4)) / 255\n"
    (chain / "brightness.py").write_text(code)
    config = chain / "redmd.py"
    config.write_text(
        "import importlib.util\n"
        "def get_config():\n"
        f"    spec = importlib.util.spec_from_file_location('tiny', {str(ROOT / 'configs' / 'train_tiny.py')!r})\n"
        "    module = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "    made, plain = module.train_config('redmd', model='tiny'), module.get_config('dmd')\n"
        "    plain.stage = 'redmd'\n"
        "    made.update(plain.copy_and_resolve_references())\n"
        "    made.workdir = 'runs/tiny/redmd'\n"
        "    return made\n"
    )
    script("train", f"--config={config}", *STAGES["dmd"], "--reward=motion", folder=chain)
    lines = (chain / "runs/tiny/redmd/metrics.jsonl").read_text().splitlines()
    assert any("generator/reward" in json.loads(line) for line in lines)


def test_the_student_makes_a_video(chain):
    words = (f"--config={ROOT / 'configs' / 'tiny.py'}", "--checkpoint=runs/tiny/dmd/model")
    words += ("--prompt=Rain on a pond.", "--seconds=1", "--height=32", "--width=32", "--output=out")
    script("sample", *words, folder=chain)
    (video,) = (chain / "out").glob("*.mp4")
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) >= 16
    assert frames[0].shape == (32, 32, 3)
