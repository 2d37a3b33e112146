"""A model out of the checkpoints of a run."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers_runs import student_of, training, write_inputs

from steady_jax import checkpoint, parallel, parameters
from steady_jax.pipeline import SteadyPipeline
from steady_jax.run import command_line
from steady_jax.train import build, workdir
from steady_jax.train.checkpoints import Checkpoints
from steady_jax.train.take_out import take_out
from steady_jax.train.workdir import Workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of DMD that has two checkpoints, all of their numbers different, and these by step."""
    folder = tmp_path_factory.mktemp("run")
    config = command_line.parse(training(write_inputs(folder / "inputs"), folder / "run", 9)[1:])
    mesh = parallel.make_mesh({}, jax.devices()[:1])
    abstract = build.training(config, mesh).stage.abstract()
    home, random = Workdir(folder / "run"), np.random.default_rng(0)
    workdir.write_config(home, config)

    def made(leaf):
        return jax.device_put(random.standard_normal(leaf.shape).astype(leaf.dtype), leaf.sharding)

    states = {step: jax.tree.map(made, abstract) for step in (3, 6)}
    with Checkpoints(home.checkpoints, 3) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, {})
    return home.folder, states


@pytest.mark.parametrize("step", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_the_averaged_student_is_taken_out_with_the_parts_that_sampling_needs(run, step, tmp_path):
    folder, states = run
    taken = take_out(folder, tmp_path / "model", step)
    assert taken == (step or 6)
    average = parameters.named(states[taken].networks["generator"].average)
    found = student_of(tmp_path / "model")
    assert set(found) == set(average)
    for path, array in average.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert set(checkpoint.describe(tmp_path / "model").parts) == set(checkpoint.PARTS)


def test_a_model_in_16_bit_says_how_its_student_was_trained(run, tmp_path):
    folder, states = run
    take_out(folder, tmp_path / "model", dtype="float16")
    found = checkpoint.describe(tmp_path / "model")
    assert {part.dtypes for part in found.parts.values() if part.parameters} == {("float16",)}
    dit, average = checkpoint.StoredArrays(tmp_path / "model", "dit"), states[6].networks["generator"].average
    for path, array in parameters.named(average).items():
        np.testing.assert_array_equal(dit[path], np.asarray(array).astype(np.float16), err_msg=path)
    config = Workdir(folder).config
    stored = json.loads(config.read_text())
    told = json.loads(json.dumps(found.sampling))
    assert told == {name: stored[name] for name in told}
    pipeline = SteadyPipeline.from_checkpoint(tmp_path / "model")
    assert (pipeline.engine.height, pipeline.engine.width) == (stored["height"], stored["width"])
    assert dataclasses.asdict(pipeline.settings.policy) == stored["memory"]
    assert pipeline.settings.frames == stored["block_frames"]
    assert pipeline.settings.calls.steps == tuple(stored["steps"])
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_what_cannot_be_taken_out_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint of step 4, there are 3, 6"):
        take_out(run[0], tmp_path / "model", 4)
    with pytest.raises(ValueError, match="no checkpoint, there are none; name the --workdir of a run"):
        take_out(tmp_path, tmp_path / "model")
    with pytest.raises(ValueError, match="exists and is never overwritten"):
        take_out(run[0], tmp_path)
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has no config\.json, so it is no run"):
        take_out(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()
