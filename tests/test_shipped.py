"""The model that comes with the package: whole, small, found by its name, and that which configs/tiny.py samples."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from steady_jax import checkpoint
from steady_jax.config import MODELS, sampling_of
from steady_jax.pipeline import SteadyPipeline

ROOT = Path(__file__).parent.parent
FOLDER = checkpoint.SHIPPED / "tiny"


@pytest.fixture(scope="module")
def pipeline():
    return SteadyPipeline.from_checkpoint("tiny")


def frames_of(pipeline, prompt, seconds=1.0, seed=0):
    """Floats [f h w 3] in [0, 1]."""
    return np.concatenate(list(pipeline.stream(prompt, seconds=seconds, seed=seed))).astype(np.float32) / 255


def test_whole_in_sixteen_bits_and_small():
    found = checkpoint.describe("tiny")
    assert found.folder == FOLDER
    assert set(found.parts) == set(checkpoint.PARTS)
    assert all(found.parts[name].dtypes == ("float16",) for name in checkpoint.NETWORKS)
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 20e6


def test_nothing_in_it_says_where_it_was_made():
    texts = [FOLDER / checkpoint.DESCRIPTION, *FOLDER.rglob("*METADATA"), *FOLDER.rglob("*.txt")]
    assert len(texts) > 2 * len(checkpoint.NETWORKS)
    for file in texts:
        assert not re.search(r"""(^|["'\s])/\w""", file.read_text()), f"{file} names a place"


def test_the_configs_say_what_the_folder_says():
    config = runpy.run_path(str(ROOT / "configs" / "tiny.py"))["get_config"]()
    found = checkpoint.describe("tiny")
    assert config.checkpoint == "tiny"
    trained = runpy.run_path(str(ROOT / "configs" / "train_tiny.py"))["get_config"]("dmd")
    assert found.sampling == sampling_of(config) == sampling_of(trained)
    for name in checkpoint.NETWORKS:
        checkpoint.check_sizes(found.parts[name], getattr(MODELS["tiny"], name), FOLDER)


def test_prompts_change_what_is_seen(pipeline):
    night = frames_of(pipeline, "A campfire burns on a dark beach at night, fixed camera.")
    day = frames_of(pipeline, "Clouds drift over green hills at noon, fixed camera.")
    assert night.mean() < day.mean() - 0.1
    sky, ground = day[:, :16].mean(axis=(0, 1, 2)), day[:, -16:].mean(axis=(0, 1, 2))
    assert sky[2] > ground[2] + 0.1  # blue


@pytest.mark.parametrize("prompt", ["Ein Wasserfall im Wald", "夕暮れの海", "🔥", "qwrtz " * 200, "the"])
def test_words_outside_the_grammar_make_a_video_too(pipeline, prompt):
    frames = frames_of(pipeline, prompt)
    assert frames.shape[1:] == (64, 64, 3)
    assert frames.std() > 0.05
    assert np.diff(frames, axis=2).std() < 0.7 * frames.std()  # a picture: neighbours are alike


def test_prompts_that_the_grammar_would_not_write_give_the_nearest_scene(pipeline):
    fire, sea = (frames_of(pipeline, text) for text in ("Burning logs, warm glow, relaxing ambience", "seaside"))
    assert fire[..., 0].mean() > fire[..., 2].mean() + 0.05  # red
    assert sea[..., 2].mean() > sea[..., 0].mean() + 0.05  # blue


def test_background_stands_while_something_moves(pipeline):
    frames = frames_of(pipeline, "A waterfall drops between grey rocks, fixed camera.", seconds=4.0)
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(0, 3))
    assert np.quantile(change, 0.2) < 0.02 < np.quantile(change, 0.98)
