"""Memory of programs whose sizes are known by hand, of a tiny step, and against the number of blocks."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec
from measure_blocks import measured

from steady_jax import parallel, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.program import Program
from steady_jax.train.config import train_config
from steady_jax.train.networks import with_shardings
from steady_jax.train.plan import (
    CHIPS,
    Call,
    Plan,
    Planned,
    beside,
    bytes_of,
    calls_of,
    chip_of,
    distillation,
    out_of_memory,
    plan,
)
from steady_jax.train.self_rollout import RolloutSettings

FLOATS = 1000
# by libtpu 0.0.42.1
OUT_OF_MEMORY = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (32.63G) exceeds "
    "available HBM (15.75G)."
)


@pytest.fixture(scope="module")
def mesh():
    return parallel.make_mesh({}, jax.devices()[:1])


def array(mesh, *shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=parallel.replicated(mesh))


def test_what_lies_there_is_counted_once(mesh):
    read, lying, held = (array(mesh, FLOATS) for _ in range(3))
    given = Call(Program(lambda x: jnp.sum(x)), (read,), {"network": {"a": read, "b": lying}, "held": held})
    kept = Call(Program(lambda x, _: x * 2, donate=[0]), (read, lying), {"network": {"a": read, "b": lying}})
    made = plan({"given": given, "kept": kept}, mesh, usable=10**6)
    size = 4 * FLOATS
    assert made.programs["given"].beside == {"network": size, "held": size}
    assert made.programs["given"].arguments == size
    assert made.programs["kept"].beside == {}
    assert made.programs["kept"].arguments == 2 * size  # the second is not read, and lies there all the same
    assert made.programs["kept"].results == 0  # takes the place of the first
    assert made.largest == "given"
    assert made.needed == made.code + made.programs["given"].total
    assert made.programs["given"].total == 3 * size + 4 + made.programs["given"].temporaries


@pytest.mark.parametrize(("usable", "fits"), [(99, False), (100, True)])
def test_the_most_that_is_held_decides(usable, fits):
    small, large = Planned(10, 10, 10, 5, {"rest": 20}), Planned(40, 20, 10, 5, {"rest": 20})
    assert Plan({"small": small, "large": large}, usable).fits == fits


def test_a_program_that_does_not_compile_does_not_fit():
    made = Plan({"fine": Planned(50, 0, 0, 0, {}), "broken": Planned(1, 0, 0, 0, {}, "too much")}, 100)
    assert made.largest == "broken"
    assert not made.fits


def test_bytes_are_those_of_one_device():
    mesh = AbstractMesh((1, 4, 2, 1), parallel.AXES)
    cut = jax.ShapeDtypeStruct((8, 6), "bfloat16", sharding=NamedSharding(mesh, PartitionSpec("fsdp", "context")))
    whole = jax.ShapeDtypeStruct((), "int32", sharding=NamedSharding(mesh, PartitionSpec()))
    assert bytes_of({"cut": cut, "whole": whole}) == 2 * 3 * 2 + 4


def test_an_error_of_the_compiler_in_one_line():
    assert out_of_memory(OUT_OF_MEMORY) == "needs 32.63 of 15.75 GiB, 16.88 too much"
    assert out_of_memory("RESOURCE_EXHAUSTED: something else\nmore") == "something else"


def test_chips_are_known_or_refused():
    with pytest.raises(ValueError, match="a plan is made for v5e, v5p, v6e, got a topology of 'cpu'"):
        chip_of(jax.devices("cpu")[0])
    # the compiler's GiB are nearly the GB of the data sheet, never more
    assert all(0.95 < chip.usable * 2**30 / chip.nominal / 2**30 < 1.01 for chip in CHIPS.values())


def tiny_config(stage="dmd", **changes):
    config = train_config(stage, model="tiny")
    config.height = config.width = 32
    config.clip_frames = config.rollout_frames = 6
    config.memory.window = 9
    config.block_frames, config.batch, config.dtype, config.attention = 3, 2, "float32", "xla"
    config.steps = (1000, 500)
    config.update(changes)
    return config


@pytest.mark.slow
def test_what_a_step_holds_beside_its_programs(mesh):
    stage = distillation(tiny_config(accumulate=2), mesh)
    calls = calls_of(stage)
    assert list(calls) == ["roll", "generator", "update_generator", "critic", "update_critic"]
    dit = stage.setup.learners["generator"].network.config
    weights = 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(parameters.abstract(WanDiT, dit)))
    memory = 2 * 4 * dit.layers * 9 * 4 * dit.width  # keys and values of 9 frames of 2 x 2 tokens, one item
    moments = "critic optimiser"

    update = plan({"update": calls["update_critic"]}, mesh, usable=2**30).programs["update"]
    others = dict.fromkeys(("generator weights", "generator average", "teacher"), weights)
    assert {name: update.beside[name] for name in others} == others
    assert not {"critic weights", moments, "held meanwhile"} & set(update.beside)
    # without momentum an optimiser keeps second moments, and counters; the old state makes room for the new one
    assert 3 * weights <= update.arguments < 3 * weights + 100
    assert update.results < weights / 1000  # the norm, and a table of where results lie

    critic = beside(calls["critic"])
    assert weights <= critic[moments] < weights + 100
    assert weights + memory < critic["held meanwhile"] < weights + 2 * memory  # the sum of gradients, and the rollout
    assert "critic weights" not in critic


@pytest.mark.slow
def test_a_step_goes_through_the_programs_of_its_plan(mesh):
    """They are compiled for the plan's arguments, and would refuse others."""
    config = tiny_config(accumulate=2)
    stage = distillation(config, mesh)
    made = plan(calls_of(stage), mesh, usable=2**30)
    programs = {**stage.programs, **stage.update.programs}
    seconds = {name: programs[name].compile_seconds for name in made.programs}
    dit = stage.setup.learners["generator"].network.config
    text = np.zeros((2, dit.text_length, dit.text_width), np.float32)
    stage.negative = text[:1]
    with jax.set_mesh(mesh):
        stage.train_step(0, stage.start(), {"embeddings": jax.device_put(text, parallel.batch_sharding(mesh))})
    assert seconds == {name: programs[name].compile_seconds for name in made.programs}
    assert min(seconds.values()) > 0
    assert made.fits


@pytest.mark.parametrize(
    ("stage", "changes", "networks"),
    [
        pytest.param("dmd", {"data.kind": "shards"}, {"teacher"}, marks=pytest.mark.slow),
        ("redmd", {"rollout_frames": 12}, {"teacher", "text_encoder", "vae"}),
    ],
)
def test_frozen_networks_are_those_of_a_step(mesh, stage, changes, networks):
    config = tiny_config(stage)
    config.update_from_flattened_dict(changes)
    stage = distillation(config, mesh)
    assert set(stage.frozen.networks) == networks
    assert ("continue_clip" in calls_of(stage)) == ("rollout_frames" in changes)


def test_sizes_come_from_the_config(mesh):
    config = tiny_config()
    config.teacher_model = "1.3b"
    assert distillation(config, mesh).frozen.networks["teacher"].config.width == 1536
    config.teacher_model = "2b"
    with pytest.raises(ValueError, match="unknown model '2b'; known are"):
        distillation(config, mesh)


def test_other_stages_are_refused(mesh):
    with pytest.raises(ValueError, match="stages dmd and redmd, and of sampling, got 'vae'"):
        distillation(train_config("vae", model="tiny"), mesh)


@pytest.mark.parametrize(
    ("programs", "few", "many"),
    [
        pytest.param(("gradient",), 3, 7, marks=pytest.mark.slow),
        pytest.param(("roll", "gradient", "naive"), 3, 14, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_blocks(mesh, programs, few, many):
    """Neither pass keeps the memory per block. What grows is the latents that go in, and one more array of them."""
    config = DiTConfig(
        width=32, ffn_width=48, heads=2, layers=2, channels=4, text_width=16, text_length=8, frequency_width=16
    )
    config = dataclasses.replace(config, dtype="float32", attention="xla", remat="layer")
    shapes = parameters.abstract(WanDiT, config)
    dit = with_shardings(shapes, parallel.shardings(shapes, mesh))
    frames, window, size = 2, 6, 4
    policy = Steady(window=window, sink=2, alpha=0.9, flush_period=4, flush_warmup=3, flush_keep=4)

    def temporaries(blocks):
        made = BlockSettings(policy, FewSteps((1000, 500)), frames)
        settings = RolloutSettings(made, blocks, blocks, size, size)
        return {name: sizes["temporaries"] for name, sizes in measured(settings, dit, 1, mesh, programs)}

    before, after = temporaries(few), temporaries(many)
    growth = {name: (after[name] - before[name]) / (many - few) for name in programs}  # bytes per block
    latents = 4 * frames * size**2 * config.channels
    memory = 2 * 4 * config.layers * window * (size // config.patch) ** 2 * config.width
    assert memory > 10 * latents
    assert growth["gradient"] <= latents
    if "naive" in programs:
        assert growth["roll"] <= latents
        assert growth["naive"] > memory
