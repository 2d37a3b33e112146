"""A trial is refused before anything is made, and its folder belongs to one config and one set of weights."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from helpers_trial import write_inputs

from steady_jax.evaluation import classifier
from steady_jax.trial.trial import Trial

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def config_of(inputs, workdir, **changes):
    spec = importlib.util.spec_from_file_location("evaluate_tiny", ROOT / "configs" / "evaluate_tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.checkpoint = config.teacher = str(inputs / "model")
    config.classifier, config.workdir = str(inputs / "classifier.npz"), str(workdir)
    config.update(changes)
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": ("see",)}, "kinds must be of sea, river, .*, got see"),
        ({"own_words": {"fog": ()}}, "own_words must have prompts for every kind, and has none for fog"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"prompts": -1}, "prompts must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seconds": 3.0}, "must be as long at least, got 3 and 240"),
        ({"classifier": "nowhere.npz"}, "there is no classifier nowhere.npz; make it with"),
        ({"teacher": "nowhere"}, "nowhere is not a checkpoint folder"),
        ({"window": "nothing"}, "unknown row of the ablation 'nothing'"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(inputs, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Trial(config_of(inputs, tmp_path / "trial", **changes))
    assert not (tmp_path / "trial").exists()


def test_a_source_without_videos_is_left_out(inputs, tmp_path):
    trial = Trial(config_of(inputs, tmp_path, long_prompts=0, teacher=None))
    assert tuple(trial.sources) == ("procedural", "frozen", "reconstruction", "own_words", "steady", "window")
    assert trial.sources["own_words"].batch == 4


def test_only_what_needs_no_student_can_be_made_and_gone_on_with(inputs, tmp_path):
    """Procedural clips and their frozen twins; the folder then refuses another seed and other weights."""
    few = {"kinds": ("fire",), "prompts": 2, "seconds": 5.0, "long_prompts": 0, "teacher": None}

    def painted(**changes):
        trial = Trial(config_of(inputs, tmp_path / "trial", **(few | changes)))
        trial.sources = {name: trial.sources[name] for name in ("procedural", "frozen")}
        return trial

    said = []
    written = painted()(said.append, lambda: None)
    assert said == ["procedural, fire: 2 of 2", "frozen, fire: 2 of 2"]
    rows = json.loads((tmp_path / "trial" / "procedural-fire.json").read_text())
    assert [row["kind"] for row in rows] == ["fire", "fire"]
    assert "## Motion left" in written.read_text()
    assert painted(batch=1)(said.append, lambda: None) == written
    assert len(said) == 2
    with pytest.raises(ValueError, match="made with another config:\n  seed: 0 -> 1"):
        painted(seed=1)
    other = shutil.copytree(inputs, tmp_path / "inputs")
    network = classifier.load(other / "classifier.npz")
    (other / "classifier.npz").unlink()
    network.half.bias[...] += 1
    classifier.save(network, other / "classifier.npz")
    assert painted(checkpoint=str(other / "model")).home.folder == tmp_path / "trial"
    with pytest.raises(ValueError, match=r"inputs\.classifier: sha256"):
        painted(classifier=str(other / "classifier.npz"))
