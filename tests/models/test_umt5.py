import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_convert import network_from_torch

from converters import umt5
from steady_jax import parameters
from steady_jax.models.umt5 import UMT5_SIZES, UMT5Config, UMT5Encoder, relative_buckets

TINY = UMT5Config(
    vocabulary=50, width=16, ffn_width=24, heads=2, head_width=4, layers=3, buckets=8, max_distance=20, dtype="float32"
)

# one program per shape, so that scanning the layers compiles once
encode = jax.jit(lambda encoder, ids, mask: encoder(ids, mask))
hidden_of = jax.jit(lambda encoder, ids, mask: encoder.hidden(ids, mask))


@pytest.fixture(scope="module")
def tiny():
    return parameters.random(UMT5Encoder, TINY)


def prompts(lengths, padded, seed=0):
    """Random ids of these lengths, zero-padded, and their mask."""
    mask = (np.arange(padded) < np.array(lengths)[:, None]).astype(np.int32)
    ids = np.random.default_rng(seed).integers(3, TINY.vocabulary, (len(lengths), padded))
    return jnp.asarray(ids * mask, jnp.int32), jnp.asarray(mask)


@pytest.fixture(scope="module")
def fixture(published):
    numbers = published("umt5_tiny")
    encoder = network_from_torch(UMT5Encoder, umt5, numbers.parameters, dtype="float32")
    return numbers, encoder, jnp.asarray(numbers["in:ids"], jnp.int32), jnp.asarray(numbers["in:mask"], jnp.int32)


@pytest.mark.fixtures
def test_sizes_are_those_the_fixture_states(fixture):
    numbers, encoder, *_ = fixture
    stated, config = numbers.meta["config"], encoder.config
    assert config.vocabulary == stated["vocab"]
    assert (config.width, config.ffn_width) == (stated["dim"], stated["dim_ffn"])
    assert (config.heads, config.heads * config.head_width) == (stated["num_heads"], stated["dim_attn"])
    assert (config.layers, config.buckets) == (stated["num_layers"], stated["num_buckets"])


@pytest.mark.fixtures
def test_embeddings_are_the_published_ones(fixture):
    numbers, encoder, ids, mask = fixture
    np.testing.assert_allclose(encode(encoder, ids, mask), numbers["out:prompt_embeds"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(hidden_of(encoder, ids, mask), numbers["out:hidden"], atol=1e-4, rtol=0)


@pytest.mark.fixtures
def test_first_layer_is_the_published_one(fixture):
    numbers, encoder, ids, mask = fixture
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), encoder.blocks)
    np.testing.assert_allclose(first(encoder.embed(ids), mask), numbers["out:block0"], atol=1e-4, rtol=0)


@pytest.mark.fixtures
def test_position_bias_is_the_published_one(fixture):
    numbers, encoder, ids, _ = fixture
    bias = jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), encoder.blocks).attn.bias(ids.shape[1])
    rows = {int(name.removeprefix("out:pos_bias_block1_row")): name for name in numbers.names if "pos_bias" in name}
    assert rows
    for query, name in rows.items():
        np.testing.assert_array_equal(bias[:, query], numbers[name])


@pytest.mark.fixtures
def test_buckets_are_the_published_ones(fixture):
    numbers, encoder, *_ = fixture
    relative = jnp.asarray(numbers["in:bucket_rel_pos"], jnp.int32)
    buckets = relative_buckets(relative, encoder.config.buckets, encoder.config.max_distance)
    np.testing.assert_array_equal(buckets, numbers["out:bucket_bidirectional"])


def test_buckets_by_hand():
    # 8 buckets: 4 a side, distances 0 and 1 exact, then 2 .. below 2*sqrt(10) = 6.3, and the rest
    relative = jnp.array([0, -1, -2, -6, -7, -1000, 1, 2, 6, 7, 1000])
    assert relative_buckets(relative, 8, 20).tolist() == [0, 1, 2, 2, 3, 3, 5, 6, 6, 7, 7]


@pytest.mark.parametrize(("buckets", "distance"), [(4, 2), (32, 128), (32, 9), (64, 1000)])
def test_buckets_follow_the_logarithm(buckets, distance):
    side, near = buckets // 2, buckets // 4
    far = np.arange(near, 2 * distance)
    exact = near + (side - near) * np.log(far / near) / np.log(distance / near)
    clear = np.abs(exact - np.round(exact)) > 1e-9  # on a border float64 cannot decide
    found = np.asarray(relative_buckets(jnp.asarray(-far), buckets, distance))
    assert clear.any()
    np.testing.assert_array_equal(found[clear], np.minimum(side - 1, np.floor(exact))[clear])


@pytest.mark.parametrize("shorter", [7, 9, 30])
def test_padding_does_not_change_a_prompt(tiny, shorter):
    ids, mask = prompts([7, 4], 40)
    longer, cut = encode(tiny, ids, mask), encode(tiny, ids[:, :shorter], mask[:, :shorter])
    np.testing.assert_allclose(cut, longer[:, :shorter], atol=1e-5, rtol=0)


def test_a_batch_is_its_items(tiny):
    ids, mask = prompts([12, 3, 8], 12)
    alone = jnp.concatenate([encode(tiny, ids[item : item + 1], mask[item : item + 1]) for item in range(3)])
    np.testing.assert_allclose(encode(tiny, ids, mask), alone, atol=1e-5, rtol=0)


def test_embeddings_are_zero_beyond_the_prompt_and_hidden_is_not(tiny):
    ids, mask = prompts([7, 0], 10)
    embeddings, hidden = encode(tiny, ids, mask), hidden_of(tiny, ids, mask)
    assert jnp.all(embeddings[0, 7:] == 0)
    assert jnp.all(embeddings[1] == 0)
    assert jnp.all(jnp.abs(hidden).max(axis=-1) > 0)
    np.testing.assert_array_equal(embeddings[0, :7], hidden[0, :7])


def test_a_bool_mask_and_no_jit_do_the_same(tiny):
    ids, mask = prompts([7, 4], 10)
    np.testing.assert_allclose(encode(tiny, ids, mask.astype(bool)), tiny(ids, mask), atol=1e-5, rtol=0)


def test_positions_matter(tiny):
    ids, mask = prompts([8], 8)
    swapped = ids[:, jnp.array([1, 0, *range(2, 8)])]
    assert jnp.abs(encode(tiny, swapped, mask)[0, 2:] - encode(tiny, ids, mask)[0, 2:]).max() > 1e-3


def test_layers_differ(tiny):
    kernels = tiny.blocks.attn.q.kernel[...]
    assert jnp.abs(kernels[0] - kernels[1]).min() > 0


def test_bfloat16_stays_close(tiny):
    ids, mask = prompts([9], 12)
    config = dataclasses.replace(TINY, dtype="bfloat16")
    half = parameters.filled(
        parameters.abstract(UMT5Encoder, config),
        {path: array.astype(jnp.bfloat16) for path, array in parameters.named(tiny).items()},
    )
    embeddings = encode(half, ids, mask)
    assert embeddings.dtype == jnp.bfloat16
    np.testing.assert_allclose(embeddings.astype(jnp.float32), encode(tiny, ids, mask), atol=0.15, rtol=0)


def test_an_unknown_id_is_not_silent(tiny):
    ids = jnp.full((1, 3), TINY.vocabulary, jnp.int32)
    assert jnp.all(jnp.isnan(encode(tiny, ids, jnp.ones_like(ids))))


def test_xxl_has_the_published_size():
    config = UMT5_SIZES["xxl"]
    encoder = parameters.abstract(UMT5Encoder, config)
    count = sum(math.prod(leaf.shape) for leaf in parameters.named(encoder).values())
    assert round(count / 1e9, 3) == 5.681
    ids = jax.ShapeDtypeStruct((2, 512), jnp.int32)
    embeddings = jax.eval_shape(encode, encoder, ids, ids)
    assert (embeddings.shape, embeddings.dtype) == ((2, 512, config.width), jnp.bfloat16)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": 0}, "layers >= 1, got 0"),
        ({"buckets": 30}, "multiple of 4, got buckets=30"),
        ({"buckets": 80}, "got max_distance=20"),
        ({"dtype": "float16"}, "got 'float16'"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(TINY, **change)
