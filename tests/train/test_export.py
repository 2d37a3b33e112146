"""What a stage leaves behind is opened by sampling, and goes to the published layout and back as it is."""

import jax
import numpy as np
import pytest
from helpers_stages import DIT, TEXT, VAE, arrays, copied, network, setup
from helpers_torch import write_settings

from converters import convert, source, student
from converters.export import export_dit
from steady_jax import checkpoint, parameters
from steady_jax.block import BlockSettings
from steady_jax.config import ModelConfig
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.models.wan_dit import WanDiT
from steady_jax.pipeline import SteadyPipeline
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.self_rollout import RolloutSettings
from steady_jax.train.stages.ode_init import GENERATOR, ODEInit

AVERAGED = OptimiserSettings(1e-3, average=0.9)
POLICY = Steady(window=3, sink=1, anchor=False, flush=False, scene_flush=False, flush_keep=2)
BLOCK = BlockSettings(POLICY, FewSteps((1000, 500)), 2)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The folder that a stage wrote, and the averaged weights of its state by path."""
    folder = tmp_path_factory.mktemp("run") / "model"
    copied_parts = {part: str(model(1)) for part in ("vae", "text_encoder", "tokenizer")}
    made = setup({GENERATOR: network("dit", model(0))}, optimiser=AVERAGED, copied=copied_parts)
    stage = ODEInit(made, RolloutSettings(BLOCK, 2, 2, 4, 6))
    state = stage.start()
    trained = state.networks[GENERATOR]
    moved = jax.tree.map(lambda leaf: leaf + 0.25, trained.average)  # the average is what is exported
    networks = {GENERATOR: type(trained)(trained.weights, trained.optimiser, moved)}
    stage.export(type(state)(state.step, networks), folder)
    with pytest.raises(ValueError, match="exists and is never overwritten"):
        stage.export(copied(state), folder)
    return folder, arrays(moved)


def test_the_folder_holds_the_average_and_the_other_parts(exported, model):
    folder, average = exported
    found = checkpoint.describe(folder)
    assert set(found.parts) == set(checkpoint.PARTS)
    assert set(checkpoint.StoredArrays(folder, "dit")) == set(average)
    for path, array in checkpoint.StoredArrays(folder, "dit").items():
        np.testing.assert_array_equal(array, average[path], err_msg=path)
    theirs = checkpoint.StoredArrays(model(1), "vae")
    for path, array in checkpoint.StoredArrays(folder, "vae").items():
        np.testing.assert_array_equal(array, theirs[path], err_msg=path)
    assert found.parts["vae"].source == checkpoint.describe(model(1)).parts["vae"].source


def test_the_pipeline_opens_it(exported):
    folder, average = exported
    sizes = ModelConfig(DIT, VAE, TEXT)
    pipeline = SteadyPipeline.from_checkpoint(folder, BLOCK, height=16, width=24, dtype="float32", model=sizes)
    dit = parameters.named(pipeline.engine.network("dit"))
    for path, array in average.items():
        np.testing.assert_array_equal(dit[path], array, err_msg=path)


def test_it_comes_back_from_a_student_file_bit_for_bit(exported, tmp_path):
    folder, average = exported
    export_dit(folder, tmp_path / "student.pt")
    write_settings(tmp_path, DIT)  # a file of weights does not tell the number of heads
    found = student.select(source.open_file(tmp_path / "student.pt"))
    assert found.taken == "generator_ema"
    plan = convert.make_plan([convert.look_into(tmp_path / "student.pt")], parts=["dit"])
    convert.write(plan, tmp_path / "back", report=lambda line: None)
    back = checkpoint.describe(tmp_path / "back", parts=["dit"]).parts["dit"]
    assert dict(back.sizes) == dict(checkpoint.describe(folder).parts["dit"].sizes)
    dit = checkpoint.load_component(tmp_path / "back", "dit", WanDiT, DIT)
    assert parameters.named(dit).keys() == average.keys()
    for path, array in parameters.named(dit).items():
        np.testing.assert_array_equal(array, average[path], err_msg=path)
