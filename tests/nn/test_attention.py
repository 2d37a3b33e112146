import json
import os
import re
import subprocess
import sys
from functools import cache, partial
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steady_jax.nn.attention import attention, available_backends, choose_backend, clip_attention
from steady_jax.nn.attention_chunked import LARGEST_CHUNK, LARGEST_TILE
from steady_jax.nn.attention_tpu import LANES, LARGEST_BLOCK, blocked, splash

REPOSITORY = Path(__file__).parents[2]

EVERYWHERE = {  # what can run on any machine, the TPU kernel as plain JAX; jit makes every valid_tokens a traced number
    "xla": jax.jit(partial(attention, backend="xla")),
    "chunked": jax.jit(partial(attention, backend="chunked")),
    "tpu": jax.jit(partial(splash, interpret=True)),
}
every = pytest.mark.parametrize("attend", EVERYWHERE.values(), ids=EVERYWHERE.keys())

# Items, queries, slots, heads, width. CHUNKS: three of 367 keys, of which the last two share one key. HEAD_GROUPS: two
# for each of two items.
SMALL = (2, 9, 20, 3, 8)
CHUNKS = (2, 5, 1100, 2, 16)
HEAD_GROUPS = (2, 1000, 520, 12, 8)


@pytest.fixture(autouse=True)
def exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def draw(size, dtype=jnp.float32, seed=0):
    items, queries, slots, heads, width = size
    rng = np.random.default_rng(seed)
    shapes = [(items, tokens, heads, width) for tokens in (queries, slots, slots)]
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def softmax(q, k):
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def oracle(q, k, v, valid_tokens):
    """The formula in float64, over the prefix alone."""
    q, k, v = np.float64(q), np.float64(k)[:, :valid_tokens], np.float64(v)[:, :valid_tokens]
    return np.einsum("bnts,bsnh->btnh", softmax(q, k), v)


def oracle_gradients(q, k, v, valid_tokens, d_out):
    """Its gradients in q, k and v by hand, zero behind the prefix."""
    q, k, v, d_out = (np.float64(x) for x in (q, k, v, d_out))
    dk, dv = np.zeros_like(k), np.zeros_like(v)
    k, v = k[:, :valid_tokens], v[:, :valid_tokens]
    weights = softmax(q, k)
    d_weights = np.einsum("btnh,bsnh->bnts", d_out, v)
    d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    dk[:, :valid_tokens] = np.einsum("bnts,btnh->bsnh", d_scores, q)
    dv[:, :valid_tokens] = np.einsum("bnts,btnh->bsnh", weights, d_out)
    return np.einsum("bnts,bsnh->btnh", d_scores, k), dk, dv


def cotangent(q):
    """Something to pull back, a bfloat16 number in any dtype."""
    return jnp.cos(jnp.arange(q.size, dtype=jnp.float32)).reshape(q.shape).astype(jnp.bfloat16).astype(q.dtype)


@cache
def gradients(attend):
    """Compiled: the gradients in q, k and v, and nothing for the prefix length."""
    return jax.jit(lambda q, k, v, n=None: jax.vjp(lambda *x: attend(*x, valid_tokens=n), q, k, v)[1](cotangent(q)))


@every
@pytest.mark.parametrize(
    ("size", "prefixes"),
    [(SMALL, (1, 7, 20)), (CHUNKS, (1, 366, 367, 368, 734, 1099, 1100))],
)
def test_a_traced_prefix_gives_what_the_formula_gives_for_it_alone(attend, size, prefixes):
    q, k, v = draw(size)
    pull_back = gradients(attend)
    for prefix in prefixes:
        ours = attend(q, k, v, valid_tokens=prefix)
        assert ours.shape == q.shape
        np.testing.assert_allclose(ours, oracle(q, k, v, prefix), atol=1e-5)
        expected = oracle_gradients(q, k, v, prefix, cotangent(q))
        for one, other in zip(pull_back(q, k, v, prefix), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@every
def test_without_prefix_all_keys_take_part(attend):
    q, k, v = draw(CHUNKS)
    np.testing.assert_allclose(attend(q, k, v), oracle(q, k, v, None), atol=1e-5)
    np.testing.assert_array_equal(attend(q, k, v), attend(q, k, v, valid_tokens=k.shape[1]))


def test_chunked_goes_over_groups_of_heads_and_items():
    _, queries, slots, heads, _ = HEAD_GROUPS
    assert slots > LARGEST_CHUNK
    assert heads > LARGEST_TILE // (queries * slots // 2)  # the heads of one item do not fit
    q, k, v = draw(HEAD_GROUPS)
    attend = EVERYWHERE["chunked"]
    for prefix in (1, 261):
        np.testing.assert_allclose(attend(q, k, v, valid_tokens=prefix), oracle(q, k, v, prefix), atol=1e-5)
    expected = oracle_gradients(q, k, v, 300, cotangent(q))
    for one, other in zip(gradients(attend)(q, k, v, 300), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@every
def test_stale_slots_have_no_influence(attend):
    q, k, v = draw(CHUNKS)
    pull_back = gradients(attend)
    for prefix in (1, 367, 500):
        behind = jnp.arange(k.shape[1])[:, None, None] >= prefix

        def run(garbage, prefix=prefix, behind=behind):
            stale = jnp.where(behind, garbage, k), jnp.where(behind, -garbage, v)
            return attend(q, *stale, valid_tokens=prefix), *pull_back(q, *stale, prefix)

        clean = run(0.0)
        for garbage in (1e4, -1e4):
            for ours, expected in zip(run(garbage), clean, strict=True):
                np.testing.assert_array_equal(ours, expected)


@every
def test_large_scores_of_either_sign(attend):
    q, k, v = draw(CHUNKS)
    for scale in (100.0, -100.0):
        sharp = jnp.abs(q) * scale, jnp.abs(k), v  # all scores far below or far above zero
        np.testing.assert_allclose(attend(*sharp, valid_tokens=400), oracle(*sharp, 400), atol=2e-4)


@every
def test_items_and_heads_do_not_mix(attend):
    q, k, v = draw(CHUNKS)
    together = attend(q, k, v, valid_tokens=500)
    for item in range(q.shape[0]):
        for head in range(q.shape[2]):
            alone = [x[item : item + 1, :, head : head + 1] for x in (q, k, v)]
            np.testing.assert_allclose(
                attend(*alone, valid_tokens=500), together[item : item + 1, :, head : head + 1], atol=1e-6
            )


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
    q, k, v = draw(CHUNKS, dtype)
    ours = attend(q, k, v, valid_tokens=351)
    assert ours.dtype == dtype
    np.testing.assert_allclose(np.float64(ours), oracle(q, k, v, 351), atol=tolerance)


def test_keys_and_values_are_taken_in_the_dtype_of_the_queries():
    with jax.default_device(jax.devices("cpu")[0]):  # where a cast inside a program rounds as one before it
        q, k, v = draw(SMALL)
        half_q, half_k, half_v = (x.astype(jnp.bfloat16) for x in (q, k, v))
        for attend in (EVERYWHERE["xla"], EVERYWHERE["chunked"]):
            np.testing.assert_allclose(attend(q, half_k, half_v), oracle(q, half_k, half_v, None), atol=1e-5)
            np.testing.assert_array_equal(attend(half_q, k, v), attend(half_q, half_k, half_v))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_any_size(data, seed):
    items, heads, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 24))
    queries, slots = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 1600))
    prefix = data.draw(st.integers(1, slots))
    q, k, v = draw((items, queries, slots, heads, width), seed=seed)
    for attend in EVERYWHERE.values():
        np.testing.assert_allclose(attend(q, k, v, valid_tokens=prefix), oracle(q, k, v, prefix), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_backend_of_this_platform_agrees_with_xla_in_float32(dtype):
    backend = choose_backend(jax.default_backend(), dtype)  # on a GPU cuDNN, which takes half precision alone
    q, k, v = draw((2, 96, 1100, 3, 64), dtype)
    exact = [x.astype(jnp.float32) for x in (q, k, v)]
    reference, ours = EVERYWHERE["xla"], jax.jit(partial(attention, backend=backend))
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    for prefix in (None, 1, 300, 1100):
        prefix_length = {} if prefix is None else {"valid_tokens": prefix}
        pairs = [(ours(q, k, v, **prefix_length), reference(*exact, **prefix_length))]
        if prefix != 1:  # there the gradients in q and k are zero, and relative to nothing
            pairs += zip(gradients(ours)(q, k, v, prefix), gradients(reference)(*exact, prefix), strict=True)
        for one, other in pairs:
            assert one.dtype == dtype
            np.testing.assert_allclose(np.float32(one), other, rtol=tolerance, atol=tolerance * np.abs(other).max())


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
    with pytest.raises(ValueError, match=r"unknown attention backend 'flash'.*auto, xla, chunked, cudnn, tpu"):
        attention(q, k, v, backend="flash")


@pytest.mark.parametrize("valid_tokens", [0, -1, 21])
def test_a_prefix_that_is_none_is_refused(valid_tokens):
    q, k, v = draw(SMALL)
    with pytest.raises(ValueError, match=rf"valid_tokens must lie in 1\.\.20 .*got {valid_tokens}"):
        attention(q, k, v, valid_tokens=valid_tokens)


def test_blocks_of_a_clip_attend_to_themselves_and_to_what_is_before():
    q, k, v = (x.reshape(2, 6, 5, 2, 8) for x in draw((2, 30, 30, 2, 8)))

    def flat(x):
        return x.reshape(2, -1, 2, 8)

    np.testing.assert_array_equal(flat(clip_attention(q, k, v)), attention(flat(q), flat(k), flat(v)))
    for frames in (1, 2, 6):
        ours = clip_attention(q, k, v, frames=frames)
        for frame in range(6):
            seen = (frame // frames + 1) * frames
            expected = attention(q[:, frame], flat(k[:, :seen]), flat(v[:, :seen]))
            np.testing.assert_allclose(ours[:, frame], expected, atol=1e-6)


def test_chunked_needs_no_memory_for_all_scores():
    size = (1, 256, 8192, 4, 16)
    scores = 4 * prod((256, 8192, 4))  # bytes

    def temporaries(attend):
        return gradients(attend).lower(*draw(size)).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(EVERYWHERE["chunked"]) < 0.5 * scores
    assert temporaries(EVERYWHERE["xla"]) > scores  # so the number means what we think


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
    environment = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    environment["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # where libtpu is installed, this process may hold its lock
    done = subprocess.run(
        [sys.executable, "-m", "tests.nn.compile_attention_tpu"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    padded_keys_and_values = 2 * 2 * prod((28160, 12, 128))  # bytes
    assert 0 < report["forward"] < 1.5 * padded_keys_and_values
    assert 0 < report["gradient"] < 3 * padded_keys_and_values
