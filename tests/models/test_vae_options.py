"""What small VAEs have beside Wan's: shortcuts around levels, and levels that look at one frame at a time."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from steady_jax import parameters
from steady_jax.models.vae_layers import Level, Shortcut, SpatialDown, averaged_down, repeated_up
from steady_jax.models.wan_vae import VAEConfig, WanVAE

SMALL = VAEConfig(
    channels=2,
    width=4,
    multipliers=(1, 2),
    res_blocks=1,
    temporal_downsample=(True,),
    shortcuts=True,
    temporal_kernels=(1, 3),
    latent_mean=(0.1, -0.2),
    latent_std=(1.0, 0.5),
    dtype="float32",
)
LATENTS, ROWS, COLUMNS = 4, 2, 3
encode_first, encode_next = jax.jit(WanVAE.encode_first), jax.jit(WanVAE.encode_next)
decode_first, decode_next = jax.jit(WanVAE.decode_first), jax.jit(WanVAE.decode_next)


@pytest.fixture(scope="module")
def vae():
    return drawn(SMALL)


def drawn(config, seed=0):
    rng, shapes = np.random.default_rng(seed), parameters.abstract(WanVAE, config)
    arrays = {path: 0.3 * rng.standard_normal(leaf.shape) for path, leaf in parameters.named(shapes).items()}
    return parameters.filled(shapes, {path: jnp.asarray(array, jnp.float32) for path, array in arrays.items()})


def random_latents(count=LATENTS):
    return jax.random.normal(jax.random.key(1), (1, count, ROWS, COLUMNS, SMALL.channels))


def random_video():
    return jax.random.uniform(jax.random.key(2), (1, 1 + 2 * (LATENTS - 1), 2 * ROWS, 2 * COLUMNS, 3), minval=-1.0)


def streamed(vae, latents):
    """Pixel frames decoded one latent frame at a time, and the last cache."""
    frames, cache = decode_first(vae, latents[:, 0])
    frames = [frames]
    for index in range(1, latents.shape[1]):
        more, cache = decode_next(vae, latents[:, index], cache)
        frames.append(more)
    return np.concatenate(frames, axis=1), cache


def test_averages_by_hand():
    x = jnp.arange(16.0).reshape(1, 2, 2, 2, 2)  # frame, row, column, channel: weights 8, 4, 2, 1
    one = np.asarray(averaged_down(x, 1, 2, first=False))
    assert one.shape == (1, 1, 1, 1, 1)
    assert one.item() == 7.5
    # four outputs of four numbers each: a channel of a frame's four pixels
    four = np.asarray(averaged_down(x, 4, 2, first=False)).ravel()
    assert four.tolist() == [3.0, 11.0, 4.0, 12.0]
    # without time: a frame each; two numbers each are the columns of a row
    frames = np.asarray(averaged_down(x, 4, 1, first=False))
    assert frames[0, :, 0, 0].tolist() == [[1.0, 5.0, 2.0, 6.0], [9.0, 13.0, 10.0, 14.0]]


def test_a_first_frame_stands_for_a_pair():
    x = jnp.arange(8.0).reshape(1, 1, 2, 2, 2)
    first = np.asarray(averaged_down(x, 4, 2, first=True)).ravel()
    assert first.tolist() == [3.0, 3.0, 4.0, 4.0]  # as a still pair would
    z = jnp.arange(4.0).reshape(1, 1, 1, 1, 4)
    pair = np.asarray(repeated_up(z, 2, 2, first=False))
    assert pair.shape == (1, 2, 2, 2, 2)
    assert pair[0, :, 0, 0].tolist() == [[0.0, 2.0], [1.0, 3.0]]  # channels 0 and 1 are the frames of channel 0
    assert np.all(pair == pair[:, :, :1, :1])
    np.testing.assert_array_equal(repeated_up(z, 2, 2, first=True), pair[:, 1:])


def test_averages_undo_repetitions():
    z = jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 6))
    for outputs, frames in ((6, 2), (3, 2), (12, 1)):
        back = averaged_down(repeated_up(z, outputs, frames, False), 6, frames, False)
        np.testing.assert_allclose(back, z, atol=1e-6, rtol=0)


def test_a_level_adds_its_shortcut():
    layer = SpatialDown(4, dtype="float32", rngs=nnx.Rngs(0))
    level = Level({"down": layer}, Shortcut(4, 4, 1, up=False))
    x = jax.random.normal(jax.random.key(0), (1, 2, 4, 4, 4))
    y, cache = level(x, {"down": {}})
    np.testing.assert_array_equal(y, averaged_down(x, 4, 1, False) + layer(x)[0])
    assert cache == {"down": {}}


def test_shortcuts_have_no_parameters_and_kernels_only_other_shapes(vae):
    plain = parameters.named(
        parameters.abstract(WanVAE, dataclasses.replace(SMALL, shortcuts=False, temporal_kernels=None))
    )
    ours = parameters.named(vae)
    assert set(ours) == set(plain)
    shorter = {path for path, leaf in plain.items() if leaf.shape != ours[path].shape}
    assert all(plain[path].shape[1:] == ours[path].shape[1:] for path in shorter)
    assert {ours[path].shape[0] for path in shorter} == {1}
    places = {"/".join(path.split("/")[:2]) for path in shorter}
    assert places == {"encoder/conv_in", "encoder/level0", "decoder/level1", "decoder/head"}
    assert ours["encoder/level0/time_down/conv/kernel"].shape[0] == 3


def test_streaming_is_decode_bit_for_bit(vae):
    frames, _ = streamed(vae, random_latents())
    whole = jax.jit(WanVAE.decode)(vae, random_latents())
    assert whole.shape == random_video().shape
    np.testing.assert_array_equal(whole, frames)
    at_once = jax.jit(WanVAE.decode_at_once)(vae, random_latents())
    np.testing.assert_allclose(at_once, whole, atol=1e-5, rtol=0)


def test_streaming_in_is_encode_bit_for_bit(vae):
    video = random_video()
    latent, cache = encode_first(vae, video[:, 0])
    latents = [latent]
    for start in range(1, video.shape[1], 2):
        latent, cache = encode_next(vae, video[:, start : start + 2], cache)
        latents.append(latent)
    whole = jax.jit(WanVAE.encode)(vae, video)
    np.testing.assert_array_equal(whole, np.stack(latents, axis=1))
    mean, _ = jax.jit(WanVAE.moments)(vae, video)
    np.testing.assert_allclose(vae.normalised(mean), whole, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="one size, got 4x8 after a first of 4x6"):
        vae.encode_next(jnp.zeros((1, 2, 4, 8, 3)), cache)


def test_shortcuts_are_in_the_way_of_pixels_and_latents(vae):
    without = parameters.filled(
        parameters.abstract(WanVAE, dataclasses.replace(SMALL, shortcuts=False)), parameters.named(vae)
    )
    for program, x in ((decode_first, random_latents()[:, 0]), (encode_first, random_video()[:, 0])):
        assert np.abs(program(vae, x)[0] - program(without, x)[0]).max() > 1e-3


def test_a_cache_holds_no_empty_arrays_and_survives_being_named(vae):
    _, cache = streamed(vae, random_latents())
    assert cache["head"] == {}
    assert cache["level1"]["block0"] == {"first": {}, "second": {}}
    arrays = parameters.named(cache)
    assert all(array.size for array in arrays.values())
    back = parameters.filled(vae.abstract_cache(1, ROWS, COLUMNS), arrays)
    assert jax.tree.structure(back) == jax.tree.structure(cache)
    assert back["level0"]["time_up"] is arrays["level0/time_up"]


def test_the_decoder_forgets_what_lies_beyond_its_shorter_reach(vae):
    reach = SMALL.decoder_reach
    assert reach == 2 + 2 * 4 + 2 * 4 + 2  # conv_in, middle, two blocks of the deep level, and where frames double
    assert reach < dataclasses.replace(SMALL, temporal_kernels=None).decoder_reach
    latents = random_latents(reach + 4)
    whole, enough, short = (
        jax.tree.leaves(streamed(vae, latents[:, -count:])[1]) for count in (reach + 4, reach + 1, reach - 4)
    )
    for one, other in zip(whole, enough, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(whole, short, strict=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temporal_kernels": (1, 3, 3)}, r"1 or 3 for each of the 2 levels \(multipliers\), .* got \(1, 3, 3\)"),
        ({"temporal_kernels": (2, 3)}, r"temporal_kernels are 1 or 3 .* got \(2, 3\)"),
        ({"temporal_kernels": (3, 1)}, r"3 for the last, got \(3, 1\)"),
        ({"width": 6, "multipliers": (3, 5), "temporal_downsample": (False,)}, "averages equal groups, so 4 .* x 6 "),
        (
            {
                "width": 2,
                "multipliers": (1, 2, 5),
                "temporal_downsample": (False, False),
                "temporal_kernels": None,
            },
            r"repeats equal groups, so 4 \(pixels of a block\) x 2 channels must be a multiple of 5",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **wrong)


def test_one_network_has_one_configuration():
    assert VAEConfig(temporal_kernels=(3, 3, 3, 3)) == VAEConfig()
    assert VAEConfig().kernels == (3, 3, 3, 3)
    assert VAEConfig(**json.loads(json.dumps(dataclasses.asdict(SMALL)))) == SMALL
    assert hash(SMALL) != hash(dataclasses.replace(SMALL, shortcuts=False))
