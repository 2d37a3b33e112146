import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steady_jax.nn import rope
from steady_jax.nn.embeddings import sinusoid
from steady_jax.shapes import UNROTATED


@pytest.mark.fixtures
def test_published_cosines_and_sines(published):
    numbers = published("scheduler")
    positions = jnp.asarray(numbers["in:rope_positions"], jnp.int32)
    angles = jnp.concatenate([rope.angles(positions, pairs) for pairs in rope.axis_pairs(128)], axis=-1)
    np.testing.assert_allclose(jnp.cos(angles), numbers["out:rope128_cos"], atol=1e-5)
    np.testing.assert_allclose(jnp.sin(angles), numbers["out:rope128_sin"], atol=1e-5)


@pytest.mark.fixtures
def test_published_sinusoid(published):
    numbers = published("scheduler")
    expected = numbers["out:sinusoid_dim256"]
    ours = jax.jit(lambda t: sinusoid(t, expected.shape[-1]))(jnp.asarray(numbers["in:sinusoid_t"]))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_angles_hold_their_precision_over_a_million_frames():
    positions = np.concatenate([np.arange(2000), np.arange(999_000, 1_000_001), [123_456, 777_777]])
    ours = jax.jit(lambda p: rope.angles(p, 22))(jnp.asarray(positions))
    exact = positions[:, None].astype(np.float64) * rope.frequencies(22)
    np.testing.assert_allclose(np.cos(np.float64(ours)), np.cos(exact), atol=5e-6)
    np.testing.assert_allclose(np.sin(np.float64(ours)), np.sin(exact), atol=5e-6)


def test_sinusoid_is_as_good_as_float64_between_whole_timesteps():
    timesteps = np.float32([0, 0.25, 625, 833.3333, 937.5, 999.999, 1000])
    exact = timesteps[:, None].astype(np.float64) * rope.frequencies(128)
    np.testing.assert_allclose(
        sinusoid(jnp.asarray(timesteps), 256), np.concatenate([np.cos(exact), np.sin(exact)], axis=-1), atol=5e-6
    )


def test_rotation_turns_interleaved_pairs_by_frame_row_and_column():
    head_width = 18  # 9 pairs: 3 of the frame, 3 of the row, 3 of the column
    x = np.random.default_rng(0).standard_normal((1, 2 * 2 * 3, 1, head_width)).astype(np.float32)
    turned = rope.rotate(jnp.asarray(x), rope.rotation(jnp.array([5, 9]), 2, 3, head_width))
    frame, row, column = 9, 1, 2
    angle = np.concatenate([position * rope.frequencies(3) for position in (frame, row, column)])
    pairs = x[0, -1, 0].reshape(9, 2)
    expected = np.stack(
        [
            pairs[:, 0] * np.cos(angle) - pairs[:, 1] * np.sin(angle),
            pairs[:, 0] * np.sin(angle) + pairs[:, 1] * np.cos(angle),
        ],
        axis=-1,
    )
    np.testing.assert_allclose(turned[0, -1, 0], expected.reshape(-1), atol=1e-5)


def test_unrotated_frames_stay_as_they_are():
    x = jax.random.normal(jax.random.key(0), (1, 2 * 4, 2, 12))
    turned = rope.rotate(x, rope.rotation(jnp.array([UNROTATED, 3]), 2, 2, 12))
    np.testing.assert_array_equal(turned[:, :4], x[:, :4])
    assert np.abs(turned[:, 4:] - x[:, 4:]).max() > 0.1


def test_pairs_are_split_as_published():
    assert rope.axis_pairs(128) == (22, 21, 21)
    assert rope.axis_pairs(32) == (6, 5, 5)


def test_tokens_may_keep_their_frames_apart():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2 * 6, 3, 12)), jnp.float32)
    turn = rope.rotation(jnp.array([4, 9]), 2, 3, 12)
    framed = rope.rotate(x.reshape(2, 2, 6, 3, 12), turn)
    np.testing.assert_array_equal(framed.reshape(x.shape), rope.rotate(x, turn))
