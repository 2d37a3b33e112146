import json
import os
import re
import subprocess
import sys
from functools import partial
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steady_jax.nn.attention import BACKENDS, attention, available_backends, choose_backend
from steady_jax.nn.attention_chunked import LARGEST_CHUNK, LARGEST_TILE, chunked
from steady_jax.nn.attention_tpu import LANES, LARGEST_BLOCK, blocked, splash

REPOSITORY = Path(__file__).parents[2]

EVERYWHERE = {  # what can run on any machine, the TPU kernel as plain JAX
    "xla": partial(attention, backend="xla"),
    "chunked": partial(attention, backend="chunked"),
    "tpu": partial(splash, interpret=True),
}
every = pytest.mark.parametrize("attend", EVERYWHERE.values(), ids=EVERYWHERE.keys())

# Items, queries, slots, heads, width. Two chunks of 350; three of 367 that overlap; two groups of heads for each item.
SMALL = (2, 9, 20, 3, 8)
TWO_CHUNKS = (2, 5, 700, 2, 16)
OVERLAPPING = (1, 3, 1100, 1, 8)
HEAD_GROUPS = (2, 600, 520, 8, 8)


@pytest.fixture(autouse=True)
def exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def draw(size, dtype=jnp.float32, seed=0):
    items, queries, slots, heads, width = size
    rng = np.random.default_rng(seed)
    shapes = [(items, tokens, heads, width) for tokens in (queries, slots, slots)]
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def oracle(q, k, v, valid_tokens):
    """The formula in float64, over the prefix alone."""
    q, k, v = np.float64(q), np.float64(k)[:, :valid_tokens], np.float64(v)[:, :valid_tokens]
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), v)


@every
@pytest.mark.parametrize(
    ("size", "prefixes"),
    [(SMALL, (1, 7, 20)), (TWO_CHUNKS, (1, 349, 350, 351, 700)), (OVERLAPPING, (366, 367, 368, 734, 1099, 1100))],
)
def test_a_traced_prefix_gives_what_the_formula_gives_for_it_alone(attend, size, prefixes):
    q, k, v = draw(size)
    compiled = jax.jit(lambda q, k, v, valid: attend(q, k, v, valid_tokens=valid))
    for prefix in prefixes:
        ours = compiled(q, k, v, jnp.int32(prefix))
        assert ours.shape == q.shape
        np.testing.assert_allclose(ours, oracle(q, k, v, prefix), atol=1e-5)


@every
def test_without_prefix_all_keys_take_part(attend):
    q, k, v = draw(TWO_CHUNKS)
    np.testing.assert_allclose(attend(q, k, v), oracle(q, k, v, None), atol=1e-5)
    np.testing.assert_array_equal(attend(q, k, v), attend(q, k, v, valid_tokens=k.shape[1]))


def test_chunked_goes_over_groups_of_heads_and_items():
    _, queries, slots, heads, _ = HEAD_GROUPS
    assert queries * (slots // 2) * heads < LARGEST_TILE // 2 or slots > LARGEST_CHUNK  # it is cut along both axes
    q, k, v = draw(HEAD_GROUPS)
    for prefix in (1, 260, 261, 520):
        ours = chunked(q, k, v, jnp.int32(prefix))
        np.testing.assert_allclose(ours, oracle(q, k, v, prefix), atol=1e-5)


@every
@pytest.mark.parametrize("prefix", [1, 350, 400])
def test_stale_slots_have_no_influence(attend, prefix):
    q, k, v = draw(TWO_CHUNKS)
    behind = jnp.arange(k.shape[1])[:, None, None] >= prefix

    @jax.jit
    def run(k, v):
        out, pull_back = jax.vjp(lambda *qkv: attend(*qkv, valid_tokens=jnp.int32(prefix)), q, k, v)
        return out, *pull_back(jnp.ones_like(out))

    clean = run(jnp.where(behind, 0.0, k), jnp.where(behind, 0.0, v))
    for garbage in (1e4, -1e4):
        stale = run(jnp.where(behind, garbage, k), jnp.where(behind, -garbage, v))
        for ours, expected in zip(stale, clean, strict=True):
            np.testing.assert_array_equal(ours, expected)
    for gradient in clean[2:]:
        assert not gradient[:, prefix:].any()
        assert gradient[:, :prefix].any() or prefix == 1  # a lone key has weight 1 whatever it is


@every
def test_large_scores_of_either_sign(attend):
    q, k, v = draw(TWO_CHUNKS)
    for scale in (100.0, -100.0):
        sharp = jnp.abs(q) * scale, jnp.abs(k), v  # all scores far below or far above zero
        np.testing.assert_allclose(attend(*sharp, valid_tokens=400), oracle(*sharp, 400), atol=2e-4)


@every
def test_items_and_heads_do_not_mix(attend):
    q, k, v = draw(TWO_CHUNKS)
    together = attend(q, k, v, valid_tokens=500)
    for item in range(q.shape[0]):
        for head in range(q.shape[2]):
            alone = [x[item : item + 1, :, head : head + 1] for x in (q, k, v)]
            np.testing.assert_allclose(
                attend(*alone, valid_tokens=500), together[item : item + 1, :, head : head + 1], atol=1e-6
            )


def gradients(attend, q, k, v, *prefix):
    def loss(q, k, v):
        return jnp.sum(attend(q, k, v, *prefix) * jnp.cos(jnp.arange(q.size).reshape(q.shape)))

    return jax.grad(loss, (0, 1, 2))(q, k, v)


def plain(q, k, v):
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) / jnp.sqrt(q.shape[-1])
    return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(scores), v)


@every
@pytest.mark.parametrize(
    ("size", "prefixes"),
    [(SMALL, (1, 7, 20)), (TWO_CHUNKS, (1, 350, 351, 700)), (OVERLAPPING, (367, 1099, 1100))],
)
def test_gradients_are_those_of_the_plain_formula(attend, size, prefixes):
    q, k, v = draw(size)
    ours = jax.jit(lambda q, k, v, valid: gradients(lambda *x: attend(*x[:3], valid_tokens=x[3]), q, k, v, valid))
    for prefix in prefixes:
        expected = gradients(lambda q, k, v, prefix=prefix: plain(q, k[:, :prefix], v[:, :prefix]), q, k, v)
        for one, other in zip(ours(q, k, v, jnp.int32(prefix)), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_chunked_gradients_over_groups_of_heads():
    q, k, v = draw(HEAD_GROUPS)
    expected = gradients(lambda q, k, v: plain(q, k[:, :300], v[:, :300]), q, k, v)
    for one, other in zip(gradients(chunked, q, k, v, jnp.int32(300)), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@every
def test_differentiable_inside_scan_and_checkpoint(attend):
    q, k, v = draw(SMALL)

    def layers(x, k, v, valid, remat):
        def layer(x, kv):
            return x + attend(x, *kv, valid_tokens=valid), None

        return jax.lax.scan(remat(layer), x, (jnp.stack([k, 2 * k]), jnp.stack([v, -v])))[0]

    def gradient(remat):
        return jax.jit(jax.grad(lambda *qkv: jnp.sum(layers(*qkv, jnp.int32(11), remat) ** 2), (0, 1, 2)))(q, k, v)

    for kept, made_again in zip(gradient(lambda f: f), gradient(jax.checkpoint), strict=True):
        np.testing.assert_allclose(kept, made_again, atol=1e-5)


@every
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.bfloat16, 1e-2), (jnp.float16, 2e-3)])
def test_half_precision_keeps_its_dtype_and_a_float32_softmax(attend, dtype, tolerance):
    q, k, v = draw(TWO_CHUNKS, dtype)
    ours = attend(q, k, v, valid_tokens=351)
    assert ours.dtype == dtype
    np.testing.assert_allclose(np.float64(ours), oracle(q, k, v, 351), atol=tolerance)


def test_output_and_arithmetic_follow_the_queries():
    q, k, v = draw(SMALL)
    kept_in_half = k.astype(jnp.bfloat16), v.astype(jnp.bfloat16)
    for backend in ("xla", "chunked"):
        ours = attention(q, *kept_in_half, backend=backend)
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, oracle(q, *kept_in_half, None), atol=1e-5)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_any_size(data, seed):
    items, heads = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    queries, slots = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 1600))
    size = (items, queries, slots, heads, data.draw(st.sampled_from([2, 7, 24])))
    prefix = data.draw(st.integers(1, slots))
    q, k, v = draw(size, seed=seed)
    for attend in EVERYWHERE.values():
        np.testing.assert_allclose(attend(q, k, v, valid_tokens=prefix), oracle(q, k, v, prefix), atol=1e-5)


@pytest.mark.parametrize("backend", available_backends(jax.default_backend()))
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("prefix", [None, 1, 300, 700])
def test_every_backend_of_this_platform_agrees_with_xla(backend, dtype, prefix):
    if backend == "cudnn" and dtype == jnp.float32:
        assert choose_backend("gpu", dtype) != backend  # cuDNN has no float32 kernel, and "auto" knows it
        return
    q, k, v = draw((2, 96, 700, 3, 64))
    reference = partial(attention, valid_tokens=prefix, backend="xla")
    ours = partial(attention, valid_tokens=None if prefix is None else jnp.int32(prefix), backend=backend)
    half = [x.astype(dtype) for x in (q, k, v)]
    exact = [x.astype(jnp.float32) for x in half]
    pairs = [(jax.jit(ours)(*half), reference(*exact)), *zip(gradients(ours, *half), gradients(reference, *exact))]
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    for one, other in pairs:
        one = np.float32(one)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1.0, np.abs(other).max()))


def test_auto_is_the_choice_for_this_platform():
    q, k, v = draw(SMALL)
    chosen = choose_backend(jax.default_backend(), q.dtype)
    np.testing.assert_array_equal(attention(q, k, v), attention(q, k, v, backend=chosen))


def test_choice_of_the_backend():
    assert choose_backend("gpu", jnp.bfloat16) == choose_backend("gpu", np.dtype("float16")) == "cudnn"
    assert choose_backend("gpu", jnp.float32) == "xla"
    assert choose_backend("gpu", jnp.bfloat16, head_width=384) == "xla"  # wider than cuDNN's kernels, as the VAE's head
    assert choose_backend("gpu", jnp.bfloat16, head_width=12) == "xla"  # no multiple of 8
    assert choose_backend("tpu", jnp.bfloat16) == choose_backend("tpu", jnp.float32, head_width=384) == "tpu"
    assert choose_backend("cpu", jnp.float32) == choose_backend("cpu", jnp.bfloat16) == "chunked"
    assert choose_backend("another", jnp.float32) == "xla"
    for platform in ("cpu", "gpu", "tpu", "another"):
        assert choose_backend(platform, jnp.bfloat16) in available_backends(platform)


def test_an_unknown_backend_is_answered_with_the_known():
    q, k, v = draw(SMALL)
    with pytest.raises(ValueError, match="unknown attention backend 'flash'.*auto, xla, chunked, cudnn, tpu"):
        attention(q, k, v, backend="flash")


@pytest.mark.parametrize("valid_tokens", [0, -1, 21])
def test_a_prefix_that_is_none_is_refused(valid_tokens):
    q, k, v = draw(SMALL)
    with pytest.raises(ValueError, match=rf"valid_tokens must lie in 1\.\.20 .*got {valid_tokens}"):
        attention(q, k, v, valid_tokens=valid_tokens)


def test_chunked_needs_no_memory_for_all_scores():
    size = (1, 256, 8192, 4, 16)
    scores = 4 * prod((256, 8192, 4))  # bytes

    def temporaries(attend):
        return jax.jit(partial(gradients, attend)).lower(*draw(size)).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(BACKENDS["chunked"]) < 0.5 * scores
    assert temporaries(partial(attention, backend="xla")) > scores  # so the number means what we think


@pytest.mark.parametrize("size", [(1, 9360, 28080, 12, 128), (1, 9360, 512, 12, 128), (1, 6240, 6240, 1, 384)])
@pytest.mark.parametrize(("backend", "platform"), [("tpu", "tpu"), ("chunked", "cpu")])
def test_real_sizes_lower_and_hold_no_array_of_queries_by_keys(size, backend, platform):
    items, queries, slots, heads, width = size
    q, kv = (jax.ShapeDtypeStruct((items, n, heads, width), jnp.bfloat16) for n in (queries, slots))
    attend = jax.jit(lambda q, k, v, valid: attention(q, k, v, valid_tokens=valid, backend=backend))
    program = attend.trace(q, kv, kv, jax.ShapeDtypeStruct((), jnp.int32)).lower(lowering_platforms=(platform,))
    shapes = re.findall(r"tensor<((?:\d+x)+)[a-z]", program.as_text())
    largest = max(prod(int(length) for length in shape.split("x")[:-1]) for shape in shapes)
    inputs = max(queries, slots) * heads * width
    assert inputs <= largest < 1.1 * max(inputs, queries * LARGEST_CHUNK)


def test_tpu_blocks_hold_all_tokens_and_little_more():
    for tokens in range(1, 3000):
        block, padded = blocked(tokens)
        assert block % LANES == 0
        assert block <= LARGEST_BLOCK
        assert padded % block == 0
        assert tokens <= padded < tokens + LANES * (padded // block)
    assert blocked(9360) == (512, 9728)
    assert blocked(28080) == (512, 28160)


@pytest.mark.slow
def test_real_sizes_compile_for_a_tpu():
    done = subprocess.run(
        [sys.executable, "-m", "tests.nn.compile_attention_tpu"],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    padded_keys_and_values = 2 * 2 * prod((28160, 12, 128))  # bytes
    assert 0 < report["forward"] < 1.5 * padded_keys_and_values
    assert 0 < report["gradient"] < 3 * padded_keys_and_values
