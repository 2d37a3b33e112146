import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from steady_jax.nn.causal_conv import CausalConv, causal_conv

FRAMES, INPUTS, OUTPUTS = 8, 3, 5


def weights(shape=(3, 3, 3)):
    kernel = jax.random.normal(jax.random.key(0), (*shape, INPUTS, OUTPUTS)) / 5
    return kernel, jax.random.normal(jax.random.key(1), (OUTPUTS,))


def video(frames=FRAMES, seed=2):
    return jax.random.normal(jax.random.key(seed), (2, frames, 6, 7, INPUTS))


def float32_conv():
    return CausalConv(INPUTS, OUTPUTS, dtype="float32", rngs=nnx.Rngs(0))


def plain(seen, kernel, bias, stride):
    """A 3-D convolution, as any textbook has it."""
    padding = [(0, 0)] + [(size // 2, size // 2) for size in kernel.shape[1:3]]
    strides, letters = (stride, 1, 1), ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(seen, kernel, strides, padding, dimension_numbers=letters) + bias


def test_a_kernel_of_one_frame_remembers_nothing():
    conv = CausalConv(INPUTS, OUTPUTS, (1, 3, 3), dtype="float32", rngs=nnx.Rngs(0))
    (first, past), (again, after) = conv(video()), conv(video(), {})
    assert past == after == {}
    np.testing.assert_array_equal(first, again)
    empty = video(1)[:, :0]
    np.testing.assert_array_equal(first, causal_conv(video(), empty, conv.kernel[...], conv.bias[...])[0])


@pytest.mark.parametrize("shape", [(3, 3, 3), (3, 1, 1), (1, 3, 3)])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_is_a_3d_convolution_of_past_and_new_frames(shape, frames):
    kernel, bias = weights(shape)
    past, x = video(shape[0] - 1, seed=3), video(frames)
    out, after = causal_conv(x, past, kernel, bias)
    seen = jnp.concatenate([past, x], axis=1)
    np.testing.assert_allclose(out, plain(seen, kernel, bias, 1), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(after, seen[:, frames:])


@pytest.mark.parametrize("frames", [2, 4])
def test_stride_over_frames(frames):
    kernel, bias = weights((3, 1, 1))
    past, x = video(1, seed=3), video(frames)
    out, after = causal_conv(x, past, kernel, bias, stride=2)
    assert out.shape[1] == frames // 2
    np.testing.assert_allclose(out, plain(jnp.concatenate([past, x], 1), kernel, bias, 2), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(after, x[:, -1:])


def test_pieces_of_a_clip_give_what_one_call_gives():
    conv = float32_conv()
    x = video()
    whole, whole_past = conv(x)
    pieces, past, start = [], None, 0
    for frames in (1, 2, 1, 4):
        out, past = conv(x[:, start : start + frames], past)
        pieces.append(out)
        start += frames
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(past, whole_past)


def test_no_frame_sees_a_later_one():
    conv = float32_conv()
    x = video()
    changed = x.at[:, 5:].add(1.0)
    before, after = conv(x)[0], conv(changed)[0]
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert jnp.all(jnp.any(before[:, 5:] != after[:, 5:], axis=(2, 3, 4)))


def test_zeros_come_before_a_clip_and_the_cache_has_the_compute_dtype():
    conv = CausalConv(INPUTS, OUTPUTS, dtype="bfloat16", rngs=nnx.Rngs(0))
    x = video(1)
    out, past = conv(x)
    np.testing.assert_array_equal(out, conv(x, conv.no_past(x))[0])
    assert (out.dtype, past.dtype, past.shape) == (jnp.bfloat16, jnp.bfloat16, (2, 2, 6, 7, INPUTS))
    np.testing.assert_array_equal(past[:, 0], jnp.zeros_like(past[:, 0]))
