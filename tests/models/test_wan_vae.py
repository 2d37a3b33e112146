import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from einops import rearrange
from helpers_convert import network_from_torch

from converters import wan_vae
from steady_jax import parameters
from steady_jax.models.vae_layers import frame_attention, l2_norm
from steady_jax.models.wan_vae import VAEConfig, WanVAE

encode, decode = jax.jit(WanVAE.encode), jax.jit(WanVAE.decode)
decode_first, decode_next = jax.jit(WanVAE.decode_first), jax.jit(WanVAE.decode_next, donate_argnums=2)
encode_first, encode_next = jax.jit(WanVAE.encode_first), jax.jit(WanVAE.encode_next, donate_argnums=2)

# Sizes of no released network, and other strides: 4 in space, 2 in time.
TINY = VAEConfig(
    channels=4,
    width=4,
    multipliers=(1, 2, 2),
    res_blocks=1,
    temporal_downsample=(False, True),
    latent_mean=(0.1, -0.2, 0.3, 0.0),
    latent_std=(1.0, 2.0, 0.5, 1.5),
    dtype="float32",
)
HEIGHT, WIDTH = 4, 6  # of latents
FRAMES = 1 + TINY.temporal_stride * 2  # pixel frames of three latent frames


@pytest.fixture(scope="module")
def oracle():
    """diffusers' network of the sizes of TINY, with random weights."""
    torch.manual_seed(0)
    network = AutoencoderKLWan(
        base_dim=TINY.width,
        z_dim=TINY.channels,
        dim_mult=list(TINY.multipliers),
        num_res_blocks=TINY.res_blocks,
        temperal_downsample=list(TINY.temporal_downsample),
        latents_mean=list(TINY.latent_mean),
        latents_std=list(TINY.latent_std),
    ).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.endswith("weight"):  # biases and norms start at 0 and 1, which would hide mistakes
                parameter.add_(0.1 * torch.randn_like(parameter))
        network.decoder.conv_out.weight.mul_(0.1)  # its decode clamps to -1..1: stay inside
    return network


@pytest.fixture(scope="module")
def vae(oracle):
    """Our network with the oracle's weights."""
    weights = {name: tensor.numpy() for name, tensor in oracle.state_dict().items()}
    network = network_from_torch(WanVAE, wan_vae, weights, dict(oracle.config), dtype="float32")
    assert network.config == TINY
    return network


@pytest.fixture(scope="module")
def coarse_vae(vae):
    """The same weights, computing in bfloat16."""
    return with_config(vae, dtype="bfloat16")


@pytest.fixture(scope="module")
def numbers(published):
    return published("wan_vae_tiny")


@pytest.fixture(scope="module")
def published_vae(numbers):
    meta = numbers.meta
    settings = {"latents_mean": meta["mean"], "latents_std": meta["std"]}
    network = network_from_torch(WanVAE, wan_vae, numbers.parameters, settings, dtype="float32")
    sizes, config = meta["config"], network.config
    assert (config.width, config.channels) == (sizes["dim"], sizes["z_dim"])
    assert list(config.multipliers) == sizes["dim_mult"]
    assert list(config.temporal_downsample) == sizes["temperal_downsample"]
    return network


def with_config(vae, **changes):
    abstract = parameters.abstract(WanVAE, dataclasses.replace(vae.config, **changes))
    return parameters.filled(abstract, parameters.named(vae))


def random_latents():
    return jax.random.normal(jax.random.key(5), (2, 3, HEIGHT, WIDTH, TINY.channels))


def random_video():
    shape = (2, FRAMES, HEIGHT * TINY.spatial_stride, WIDTH * TINY.spatial_stride, 3)
    return jax.random.uniform(jax.random.key(6), shape, minval=-1.0)


def streamed(vae, z):
    """Pixel frames of z, decoded one latent frame at a time, and every cache on the way."""
    pixels, cache = decode_first(vae, z[:, 0])
    frames, caches = [pixels], [jax.tree.map(np.asarray, cache)]
    for index in range(1, z.shape[1]):
        pixels, cache = decode_next(vae, z[:, index], cache)
        frames.append(pixels)
        caches.append(jax.tree.map(np.asarray, cache))
    return np.concatenate(frames, axis=1), caches


def streamed_in(vae, video):
    """Latents of a video, encoded one latent frame at a time, and every cache on the way."""
    latent, cache = encode_first(vae, video[:, 0])
    latents, caches = [latent], [jax.tree.map(np.asarray, cache)]
    for start in range(1, video.shape[1], TINY.temporal_stride):
        latent, cache = encode_next(vae, video[:, start : start + TINY.temporal_stride], cache)
        latents.append(latent)
        caches.append(jax.tree.map(np.asarray, cache))
    return np.stack(latents, axis=1), caches


def channels_last(array):
    return rearrange(array, "b c f h w -> b f h w c")


def assert_published(ours, theirs):
    np.testing.assert_allclose(ours, channels_last(theirs), atol=1e-4, rtol=0)


@pytest.mark.fixtures
def test_published_encode(published_vae, numbers):
    video = channels_last(numbers["in:video"])
    latents, config = encode(published_vae, video), published_vae.config
    assert_published(latents, numbers["out:mu"])
    assert_published(latents * jnp.array(config.latent_std) + jnp.array(config.latent_mean), numbers["out:mu_raw"])
    assert_published(encode(published_vae, video[:, :1]), numbers["out:encode_first_frame_only"])


@pytest.mark.fixtures
def test_published_decode(published_vae, numbers):
    assert_published(decode(published_vae, channels_last(numbers["out:mu"])), numbers["out:decode_mu"])


@pytest.mark.fixtures
def test_published_streaming(published_vae, numbers):
    z = channels_last(numbers["in:z6"])
    assert_published(streamed(published_vae, z)[0], numbers["out:decode_z6"])
    assert_published(streamed(published_vae, z[:, 3:5])[0], numbers["out:decode_fresh_frames3_4"])
    assert_published(streamed(published_vae, z[:, :1])[0], numbers["out:decode_first_latent_only"])


@pytest.mark.fixtures
def test_published_raw_scale(published_vae, numbers):
    channels = published_vae.config.channels
    raw = with_config(published_vae, latent_mean=(0.0,) * channels, latent_std=(1.0,) * channels)
    z = channels_last(numbers["in:z6"])
    assert_published(streamed(raw, z[:, :2])[0], numbers["out:decode_z6_first2_raw_scale"])


def test_encode_agrees_with_diffusers(oracle, vae):
    video = random_video()
    with torch.no_grad():
        mu = oracle.encode(torch.tensor(np.array(video)).permute(0, 4, 1, 2, 3)).latent_dist.mode()
    expected = (channels_last(mu.numpy()) - np.float32(TINY.latent_mean)) / np.float32(TINY.latent_std)
    np.testing.assert_allclose(encode(vae, video), expected, atol=1e-5, rtol=0)


def test_decode_agrees_with_diffusers(oracle, vae):
    z = random_latents()
    mu = torch.tensor(np.array(z) * np.float32(TINY.latent_std) + np.float32(TINY.latent_mean))
    with torch.no_grad():
        expected = oracle.decode(mu.permute(0, 4, 1, 2, 3)).sample.numpy()
    assert 0.1 < np.abs(expected).max() < 1
    np.testing.assert_allclose(decode(vae, z), channels_last(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("network", ["vae", "coarse_vae"])
def test_streaming_is_decode_bit_for_bit(network, request):
    vae, z = request.getfixturevalue(network), random_latents()
    frames, _ = streamed(vae, z)
    assert frames.shape == (2, FRAMES, HEIGHT * TINY.spatial_stride, WIDTH * TINY.spatial_stride, 3)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(decode(vae, z), frames)


@pytest.mark.parametrize("network", ["vae", "coarse_vae"])
def test_streaming_in_is_encode_bit_for_bit(network, request):
    vae, video = request.getfixturevalue(network), random_video()
    latents, _ = streamed_in(vae, video)
    assert latents.shape == (2, 3, HEIGHT, WIDTH, TINY.channels)
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(encode(vae, video), latents)


@pytest.mark.parametrize("length", [1, 2])
def test_short_clips_are_the_start_of_longer_ones(vae, length):
    z = random_latents()
    frames = decode(vae, z[:, :length])
    assert frames.shape[1] == 1 + TINY.temporal_stride * (length - 1)
    # another length is another program, and a GPU may choose other convolutions for it
    np.testing.assert_allclose(frames, streamed(vae, z)[0][:, : frames.shape[1]], atol=1e-5, rtol=0)


def test_cache_keeps_names_shapes_and_types(vae):
    z = random_latents()
    _, caches = streamed(vae, z)
    expected, *found = (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), cache)
        for cache in (vae.abstract_cache(2, HEIGHT, WIDTH), *caches)
    )
    assert all(shapes == expected for shapes in found)
    time_up = [cache["level0"]["time_up"] for cache in caches]
    assert time_up[0].shape == (2, 2, HEIGHT, WIDTH, 8)
    assert not np.any(time_up[0])  # the first frame is not part of this layer's sequence
    assert not np.any(time_up[1][:, 0])
    np.testing.assert_array_equal(time_up[1][:, 1], time_up[2][:, 0])


def test_the_decoder_forgets_what_lies_beyond_its_reach(vae):
    """So a cache can be made again from the last latents alone."""
    reach = vae.config.decoder_reach
    z = jax.random.normal(jax.random.key(1), (1, reach + 8, HEIGHT, WIDTH, vae.config.channels))

    def cache_of(latents):
        _, cache = decode_first(vae, latents[:, 0])
        for index in range(1, latents.shape[1]):
            _, cache = decode_next(vae, latents[:, index], cache)
        return jax.tree.leaves(cache)

    whole, enough, short = (cache_of(z[:, -count:]) for count in (reach + 8, reach + 1, reach - 4))
    for one, other in zip(whole, enough, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(whole, short, strict=True))


@pytest.mark.parametrize("network", ["vae", "coarse_vae"])
def test_encoder_cache_keeps_names_shapes_and_types(network, request):
    video = random_video()
    _, caches = streamed_in(request.getfixturevalue(network), video)
    expected, *found = (jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), cache) for cache in caches)
    assert all(shapes == expected for shapes in found)
    rows, columns = video.shape[2:4]
    assert caches[0]["conv_in"].shape == (2, 2, rows, columns, 3)  # the last two frames, of which one is none yet
    assert not np.any(caches[0]["conv_in"][:, 0])
    np.testing.assert_array_equal(caches[2]["conv_in"], video[:, -2:].astype(caches[2]["conv_in"].dtype))


def test_latents_depend_on_the_past_only(vae):
    video = random_video()
    latents = np.asarray(encode(vae, video))
    for changed, first in ((1, 1), (1 + TINY.temporal_stride, 2)):
        other = np.asarray(encode(vae, video.at[:, changed].add(1.0)))
        differs = np.any(latents != other, axis=(0, 2, 3, 4))
        assert not np.any(differs[:first])
        assert np.all(differs[first:])


def test_frames_depend_on_the_past_only(vae):
    z = random_latents()
    frames = np.asarray(decode(vae, z))
    seen = 1 + TINY.temporal_stride
    for changed in (1, 2):
        other = np.asarray(decode(vae, z.at[:, changed].add(1.0)))
        differs = np.any(frames != other, axis=(0, 2, 3, 4))
        first = 1 if changed == 1 else seen
        assert not np.any(differs[:first])
        assert np.all(differs[first:])


def test_bfloat16_stays_near_float32(vae, coarse_vae):
    def distance(ours, exact):
        return np.linalg.norm(ours - exact) / np.linalg.norm(exact)

    z, video = random_latents(), random_video()
    assert 0 < distance(decode(coarse_vae, z), decode(vae, z)) < 0.03
    assert 0 < distance(encode(coarse_vae, video), encode(vae, video)) < 0.03


def test_moments_and_decode_at_once_are_encode_and_decode(vae):
    """What training takes; on patches of pixels too."""
    rng = np.random.default_rng(0)
    shapes = parameters.abstract(
        WanVAE, dataclasses.replace(TINY, patch=2, multipliers=(1, 2), temporal_downsample=(True,))
    )
    drawn = {path: 0.3 * rng.standard_normal(leaf.shape) for path, leaf in parameters.named(shapes).items()}
    coarse = parameters.filled(shapes, {path: jnp.asarray(array, jnp.float32) for path, array in drawn.items()})
    for network in (vae, coarse):
        video, z = random_video(), random_latents()
        mean, log_variance = jax.jit(WanVAE.moments)(network, video)
        assert mean.shape == log_variance.shape
        np.testing.assert_allclose(network.normalised(mean), encode(network, video), atol=1e-5)
        np.testing.assert_allclose(jax.jit(WanVAE.decode_at_once)(network, z), decode(network, z), atol=1e-5)
        first = jax.jit(WanVAE.decode_at_once)(network, z[:, :1])
        np.testing.assert_allclose(first, decode(network, z)[:, :1], atol=1e-5)


def test_log_variance_is_the_other_half_of_what_the_encoder_gives(oracle, vae):
    video = random_video()
    with torch.no_grad():
        expected = oracle.encode(torch.tensor(np.asarray(rearrange(video, "b f h w c -> b c f h w")))).latent_dist
    mean, log_variance = jax.jit(WanVAE.moments)(vae, video)
    np.testing.assert_allclose(mean, channels_last(expected.mean.numpy()), atol=1e-4)
    np.testing.assert_allclose(log_variance, channels_last(expected.logvar.numpy()), atol=1e-4)


def test_a_patch_is_seen_as_one_pixel(vae):
    """Patches cost no parameters but in the first and last convolution, and double the stride."""
    patched = dataclasses.replace(TINY, patch=2)
    assert patched.spatial_stride == 2 * TINY.spatial_stride
    shapes = {False: parameters.named(parameters.abstract(WanVAE, TINY))}
    shapes[True] = parameters.named(parameters.abstract(WanVAE, patched))
    differing = {path for path, leaf in shapes[False].items() if leaf.shape != shapes[True][path].shape}
    assert differing == {"encoder/conv_in/kernel", "decoder/head/conv/kernel", "decoder/head/conv/bias"}
    video = jnp.zeros((1, FRAMES, 16, 24, 3))
    latents = jax.eval_shape(WanVAE.encode, parameters.abstract(WanVAE, patched), video)
    assert latents.shape == (1, 3, 2, 3, TINY.channels)
    with pytest.raises(ValueError, match="patch must be at least 1, got 0"):
        dataclasses.replace(TINY, patch=0)


def test_encode_has_a_gradient_in_every_frame(vae):
    def loss(vae, video):
        return jnp.sum(jnp.square(vae.encode(video)))

    gradient = np.asarray(jax.jit(jax.grad(loss, argnums=1))(vae, random_video()))
    assert np.all(np.isfinite(gradient))
    assert np.all(np.any(gradient != 0, axis=(0, 2, 3, 4)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 8, 16, 16, 3), r"1 \+ 4k pixel frames, got 8: drop the last 3 or give 9 frames"),
        ((1, 2, 16, 16, 3), r"1 \+ 4k pixel frames, got 2: drop the last 1 or give 5 frames"),
        ((1, 0, 16, 16, 3), r"1 \+ 4k pixel frames, got 0: give 1 frames"),
        ((1, 5, 20, 16, 3), "multiples of 8, got 20x16: crop or resize"),
        ((1, 5, 16, 12, 3), "multiples of 8, got 16x12: crop or resize"),
    ],
)
def test_encode_refuses_what_it_would_have_to_cut(shape, message):
    vae = parameters.abstract(WanVAE, VAEConfig(width=2))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(WanVAE.encode, vae, jax.ShapeDtypeStruct(shape, jnp.float32))
    with pytest.raises(ValueError, match=message):
        vae.config.check_clip(*shape[1:4])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 16, 24, 3), "made of 4 pixel frames, got 3: collect as many"),
        ((1, 4, 8, 24, 3), "one size, got 8x24 after a first of 16x24"),
        ((1, 4, 16, 16, 3), "one size, got 16x16 after a first of 16x24"),
    ],
)
def test_frames_that_do_not_go_on_from_the_first_are_refused(shape, message):
    vae = parameters.abstract(WanVAE, VAEConfig(width=2))
    _, cache = jax.eval_shape(WanVAE.encode_first, vae, jax.ShapeDtypeStruct((1, 16, 24, 3), jnp.float32))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(WanVAE.encode_next, vae, jax.ShapeDtypeStruct(shape, jnp.float32), cache)


def test_a_first_frame_of_broken_rows_of_latents_is_refused():
    vae = parameters.abstract(WanVAE, VAEConfig(width=2))
    with pytest.raises(ValueError, match="multiples of 8, got 16x20: crop or resize"):
        jax.eval_shape(WanVAE.encode_first, vae, jax.ShapeDtypeStruct((1, 16, 20, 3), jnp.float32))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"temporal_downsample": (True,)}, "one entry for each level"),
        ({"multipliers": (1, 1, 1, 1), "width": 5}, "must be even"),
        ({"channels": 8}, r"latent_mean needs one value per latent channel \(8\), got 16"),
        ({"latent_std": (0.0,) * 16}, "latent_std must be positive"),
        ({"dtype": "float16"}, "dtype must be one of"),
    ],
)
def test_wrong_sizes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        VAEConfig(**wrong)


def test_sizes_survive_json():
    back = VAEConfig(**json.loads(json.dumps(dataclasses.asdict(TINY))))
    assert back == TINY
    assert hash(back) == hash(TINY)


def test_strides_and_widths_follow_from_the_sizes():
    assert (VAEConfig().spatial_stride, VAEConfig().temporal_stride) == (8, 4)
    assert (TINY.spatial_stride, TINY.temporal_stride) == (4, 2)
    assert VAEConfig().widths == (96, 192, 384, 384)


def test_shapes_at_full_size():
    vae = parameters.abstract(WanVAE, VAEConfig())
    cache = vae.abstract_cache(1, 60, 104)
    latent = jax.ShapeDtypeStruct((1, 60, 104, 16), jnp.float32)
    pixels, after = jax.eval_shape(WanVAE.decode_next, vae, latent, cache)
    assert pixels.shape == (1, 4, 480, 832, 3)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(after))
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, cache)


@pytest.mark.parametrize(
    ("method", "shapes"),
    [
        (WanVAE.decode, [(1, frames, HEIGHT, WIDTH, 4) for frames in (3, 30)]),
        (WanVAE.encode, [(1, frames, 16, 24, 3) for frames in (5, 61)]),
    ],
)
def test_the_program_does_not_grow_with_the_clip(method, shapes):
    vae = parameters.abstract(WanVAE, TINY)
    programs = [jax.make_jaxpr(method)(vae, jax.ShapeDtypeStruct(shape, jnp.float32)) for shape in shapes]
    short, long = (len(program.jaxpr.eqns) for program in programs)
    assert short == long


def test_l2_norm_by_hand():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    expected = np.array([[0.6, 2 * 0.8], [0, 0]]) * 2**0.5
    np.testing.assert_allclose(l2_norm(x, jnp.array([1.0, 2.0])), expected, atol=1e-6, rtol=0)


def test_attention_stays_within_frames():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 5, 4))
    heads = (array[:, :, None] for array in (q, k, v))
    expected = jax.nn.dot_product_attention(*heads)[:, :, 0]
    np.testing.assert_allclose(frame_attention(q, k, v), expected, atol=1e-6, rtol=0)
