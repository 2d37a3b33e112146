import jax
import numpy as np
import pytest
import torch
import transformers
from helpers_convert import InMemory, network_from_torch

from converters import table, umt5
from steady_jax import parameters
from steady_jax.models.umt5 import UMT5_SIZES, UMT5Config, UMT5Encoder

# the heads together are wider than the model: nothing may take one for the other
TINY = UMT5Config(vocabulary=40, width=12, ffn_width=20, heads=2, head_width=8, layers=2, dtype="float32")
LAYOUTS = ("original", "transformers")


def random_weights(layout, config=TINY, seed=0):
    """PyTorch tensors of a network of these sizes."""
    network = parameters.named(parameters.abstract(UMT5Encoder, config))
    rng = np.random.default_rng(seed)
    shapes = table.torch_shapes(umt5.tables(config)[layout], network)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def shapes_of(weights):
    return {name: tuple(array.shape) for name, array in weights.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_and_sizes_are_read_from_the_tensors(layout):
    shapes = shapes_of(random_weights(layout))
    assert umt5.identify(shapes) == layout
    found = umt5.config_from(shapes, layout)
    assert found == UMT5Config(
        vocabulary=40, width=12, ffn_width=20, heads=2, head_width=8, layers=2, buckets=32, max_distance=128
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_export_gives_back_every_tensor_exactly(layout):
    weights = random_weights(layout)
    encoder = network_from_torch(UMT5Encoder, umt5, weights)
    arrays = {path: np.asarray(array) for path, array in parameters.named(encoder).items()}
    exported = dict(table.to_torch(umt5.tables(TINY)[layout], arrays))
    assert exported.keys() == weights.keys()
    for name, array in exported.items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


def test_from_one_layout_to_the_other_and_back():
    weights, rules = random_weights("original"), umt5.tables(TINY)
    encoder = network_from_torch(UMT5Encoder, umt5, weights)
    arrays = {path: np.asarray(array) for path, array in parameters.named(encoder).items()}
    again = network_from_torch(UMT5Encoder, umt5, dict(table.to_torch(rules["transformers"], arrays)))
    for path, array in parameters.named(again).items():
        np.testing.assert_array_equal(array, arrays[path], err_msg=path)


def oracle_for(config, **changes):
    torch.manual_seed(0)
    settings = transformers.UMT5Config(
        vocab_size=config.vocabulary,
        d_model=config.width,
        d_kv=config.head_width,
        d_ff=config.ffn_width,
        num_layers=config.layers,
        num_heads=config.heads,
        relative_attention_num_buckets=config.buckets,
        relative_attention_max_distance=config.max_distance,
        **changes,
    )
    return transformers.UMT5EncoderModel(settings).eval()


@pytest.mark.parametrize("max_distance", [128, 20])
def test_embeddings_are_those_of_transformers(max_distance):
    config = UMT5Config(40, 12, 20, 2, 8, 2, buckets=32, max_distance=max_distance)
    oracle = oracle_for(config)
    weights = umt5.without_aliases({name: tensor.numpy() for name, tensor in oracle.state_dict().items()})
    rng = np.random.default_rng(1)
    weights = {name: rng.standard_normal(array.shape).astype(np.float32) / 2 for name, array in weights.items()}
    oracle.load_state_dict({name: torch.tensor(array) for name, array in weights.items()}, strict=False)
    encoder = network_from_torch(UMT5Encoder, umt5, weights, oracle.config.to_dict(), dtype="float32")

    mask = (np.arange(160) < np.array([[160], [33]])).astype(np.int32)
    ids = rng.integers(3, config.vocabulary, mask.shape).astype(np.int32) * mask
    with torch.no_grad():
        expected = oracle(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy() * mask[..., None]
    assert np.abs(expected).max() > 0.5
    embeddings = jax.jit(lambda encoder, ids, mask: encoder(ids, mask))(encoder, ids, mask)
    np.testing.assert_allclose(embeddings, expected, atol=1e-4, rtol=0)


def test_tied_token_table_is_taken_under_either_name():
    names = {name: tuple(tensor.shape) for name, tensor in oracle_for(TINY).state_dict().items()}
    assert {"shared.weight", "encoder.embed_tokens.weight"} <= names.keys()
    known = set(random_weights("transformers"))
    for dropped in ("shared.weight", "encoder.embed_tokens.weight", None):
        kept = {name: shape for name, shape in names.items() if name != dropped}
        assert umt5.without_aliases(kept).keys() == known
        assert umt5.config_from(kept, umt5.identify(kept)).vocabulary == TINY.vocabulary


def test_settings_tell_what_shapes_cannot():
    shapes = shapes_of(random_weights("transformers"))
    settings = {"relative_attention_max_distance": 64, "layer_norm_epsilon": 1e-5, "feed_forward_proj": "gated-gelu"}
    config = umt5.config_from(shapes, "transformers", settings)
    assert (config.max_distance, config.eps) == (64, 1e-5)
    with pytest.raises(ValueError, match="relative_attention_max_distance as a positive integer, got 'far'"):
        umt5.config_from(shapes, "transformers", {"relative_attention_max_distance": "far"})
    with pytest.raises(ValueError, match="feed_forward_proj='relu'"):
        umt5.config_from(shapes, "transformers", {"feed_forward_proj": "relu"})


def test_other_networks_are_not_taken_for_umt5():
    assert umt5.identify({"patch_embedding.weight": (8, 4, 1, 2, 2), "blocks.0.self_attn.q.weight": (8, 8)}) is None
    assert umt5.identify({"decoder.conv1.weight": (8, 4, 3, 3, 3)}) is None


def test_problems_are_listed_and_missing_sizes_named():
    weights = random_weights("original")
    del weights["blocks.1.pos_embedding.embedding.weight"]  # a T5 shares one table of biases between its layers
    config = umt5.config_from(shapes_of(weights), "original")
    network = parameters.named(parameters.abstract(UMT5Encoder, config))
    tensors = {name: InMemory(array) for name, array in weights.items()}
    assert table.problems(umt5.tables(config)["original"], network, tensors) == [
        "missing blocks.1.pos_embedding.embedding.weight (32, 2)"
    ]
    del weights["token_embedding.weight"]
    with pytest.raises(ValueError, match=r"missing here: \['token_embedding.weight'\]"):
        umt5.config_from(shapes_of(weights), "original")


@pytest.mark.fixtures
def test_every_tensor_of_the_checkpoint_has_its_rule(manifest):
    shapes = manifest("umt5_xxl_encoder")
    assert umt5.identify(shapes) == "original"
    config = umt5.config_from(shapes, "original")
    assert config == UMT5_SIZES["xxl"]
    network = parameters.named(parameters.abstract(UMT5Encoder, config))
    assert table.torch_shapes(umt5.tables(config)["original"], network) == shapes
