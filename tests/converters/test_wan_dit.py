import numpy as np
import pytest
from helpers_convert import InMemory

from converters import table, wan_dit
from steady_jax import parameters
from steady_jax.models.wan_dit import DIT_SIZES, DiTConfig, WanDiT

TINY = DiTConfig(width=64, ffn_width=96, heads=2, layers=2, text_width=48, text_length=16, frequency_width=32)
SETTINGS = {"num_heads": 2, "text_len": 16}


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_there_and_back_is_exact(layout):
    weights = random_weights(layout)
    assert wan_dit.identify(shapes_of(weights)) == layout
    assert wan_dit.config_from(shapes_of(weights), layout, SETTINGS) == TINY
    rules, module = wan_dit.tables(TINY)[layout], parameters.named(parameters.abstract(WanDiT, TINY))
    flax = dict(table.to_flax(rules, module, {name: InMemory(array) for name, array in weights.items()}))
    back = dict(table.to_torch(rules, flax))
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_both_layouts_fill_the_same_parameters():
    original, diffusers = (wan_dit.tables(TINY)[layout] for layout in ("original", "diffusers"))
    assert {rule.path for rule in original} == {rule.path for rule in diffusers}


@pytest.mark.fixtures
@pytest.mark.parametrize(("size", "file"), [("1.3b", "wan2.1_t2v_1.3b"), ("14b", "wan2.1_t2v_14b")])
def test_every_tensor_of_the_real_checkpoints_is_covered_once(size, file, manifest):
    expected = manifest(file)
    module = parameters.named(parameters.abstract(WanDiT, DIT_SIZES[size]))
    assert table.torch_shapes(wan_dit.ORIGINAL, module) == expected
    assert wan_dit.identify(expected) == "original"
    assert wan_dit.config_from(expected, "original", None) == DIT_SIZES[size]


def test_all_problems_are_listed_at_once():
    weights = random_weights("original")
    del weights["blocks.1.ffn.0.bias"]
    weights["head.head.weight"] = weights["head.head.weight"][:3]
    weights["patch_embedding.bias"] = weights["patch_embedding.bias"].astype(np.int32)
    weights["lora.weight"] = np.zeros(3, np.float32)
    module = parameters.named(parameters.abstract(WanDiT, TINY))
    found = table.problems(wan_dit.ORIGINAL, module, {name: InMemory(array) for name, array in weights.items()})
    assert sorted(found) == [
        "head.head.weight has shape (3, 64), the network needs (64, 64)",
        "missing blocks.1.ffn.0.bias (96,)",
        "patch_embedding.bias has type int32, needed is one of float32, float16, bfloat16",
        "unknown lora.weight (3,)",
    ]


def test_tensors_of_other_networks_are_not_taken_for_a_transformer():
    assert wan_dit.identify({"encoder.conv1.weight": (96, 3, 3, 3, 3)}) is None


def test_a_config_json_of_another_model_is_refused():
    settings = {"dim": 5120, "ffn_dim": 96, "num_layers": 40, "num_heads": 40}
    with pytest.raises(
        ValueError, match="does not belong to these tensors: it says dim 5120, not 64, num_layers 40, not 2"
    ):
        wan_dit.config_from(shapes_of(random_weights("original")), "original", settings)


def test_missing_tensors_that_tell_the_size_are_named():
    with pytest.raises(ValueError, match=r"text_embedding\.0\.weight"):
        wan_dit.config_from({"patch_embedding.weight": (64, 16, 1, 2, 2)}, "original")


@pytest.mark.parametrize("key", ["num_heads", "num_attention_heads", "text_len"])
def test_settings_that_are_no_numbers_are_named(key):
    with pytest.raises(ValueError, match=f"config.json must give {key} as a positive integer, got 'two'"):
        wan_dit.config_from(shapes_of(random_weights("original")), "original", {key: "two"})


def random_weights(layout):
    module = parameters.named(parameters.abstract(WanDiT, TINY))
    shapes = table.torch_shapes(wan_dit.tables(TINY)[layout], module)
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def shapes_of(weights):
    return {name: array.shape for name, array in weights.items()}
