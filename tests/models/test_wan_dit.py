import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import SkyReelsV2Transformer3DModel, WanTransformer3DModel
from einops import rearrange
from helpers_convert import dit_from_torch

from steady_jax import block, parameters
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.models.wan_dit import DIT_SIZES, DiTConfig, WanDiT
from steady_jax.nn.modules import REMAT
from steady_jax.nn.norms import rms_norm

TINY = DiTConfig(
    width=64, ffn_width=96, heads=2, layers=2, text_width=48, text_length=16, frequency_width=32, dtype="float32"
)
SETTINGS = {"num_attention_heads": TINY.heads, "text_len": TINY.text_length}
HEIGHT, WIDTH = 4, 6


@pytest.mark.fixtures
def test_published_velocities(published):
    numbers = published("wan_t2v_tiny")
    dit = dit_from_torch(numbers.parameters, numbers.meta["config"])
    length = numbers.meta["config"]["text_len"]
    padded = {name: pad(numbers[f"in:context{name}"], length) for name in "AB"}
    velocity = jax.jit(lambda dit, x, t, text: dit(x, t, dit.encode_prompt(text)))
    for case, items in {"A": [0], "B": [0], "C": [0, 1]}.items():
        x = rearrange(numbers["in:x"][items], "b c f h w -> b f h w c")
        timesteps = jnp.repeat(numbers["in:t"][items, None], x.shape[1], axis=1)
        text = jnp.stack([padded[name] for name in ("AB" if case == "C" else case)])
        ours = rearrange(velocity(dit, x, timesteps, text), "b f h w c -> b c f h w")
        np.testing.assert_allclose(ours, numbers[f"out:{case}"], atol=1e-4, rtol=0)


def test_diffusers_transformer_agrees():
    oracle = diffusers_network(WanTransformer3DModel)
    x, text = random((2, 16, 3, HEIGHT, WIDTH)), random((2, TINY.text_length, TINY.text_width))
    timesteps = np.float32([900.5, 20])
    with torch.no_grad():
        expected = oracle(torch.tensor(x), torch.tensor(timesteps), torch.tensor(text), return_dict=False)[0]
    dit = dit_from_torch(arrays(oracle), SETTINGS)
    per_frame = jnp.repeat(timesteps[:, None], x.shape[2], axis=1)
    ours = dit(jnp.asarray(rearrange(x, "b c f h w -> b f h w c")), per_frame, dit.encode_prompt(jnp.asarray(text)))
    np.testing.assert_allclose(rearrange(ours, "b f h w c -> b c f h w"), expected, atol=1e-4, rtol=0)


def test_blocks_over_the_buffer_equal_block_causal_attention_in_one_pass():
    """diffusers' SkyReels transformer has Wan's parameters, a timestep per frame, and a block-causal mask."""
    frames, blocks = 3, 3
    oracle = diffusers_network(SkyReelsV2Transformer3DModel, inject_sample_info=False)
    oracle._set_ar_attention(frames)
    dit = dit_from_torch(arrays(oracle), SETTINGS)
    text = random((1, TINY.text_length, TINY.text_width))
    clean, noisy = random((1, 16, frames * blocks, HEIGHT, WIDTH)), random((1, 16, frames, HEIGHT, WIDTH), seed=1)

    settings = BlockSettings(SelfForcing(), FewSteps(), frames)
    prompt = dit.encode_prompt(jnp.asarray(text))
    memory = block.empty_memory(dit, settings, 1, HEIGHT, WIDTH)
    for index in range(blocks):
        memory, view = block.open_block(settings, dit.config, memory, HEIGHT, WIDTH)
        cache = block.cache_of(memory)
        xt = rearrange(noisy, "b c f h w -> b f h w c")
        ours = dit.causal(jnp.asarray(xt), jnp.full((1, frames), 625.0), prompt, cache, view)
        past = clean[:, :, : index * frames]
        with torch.no_grad():
            expected = oracle(
                torch.tensor(np.concatenate([past, noisy], axis=2)),
                torch.tensor([[0.0] * past.shape[2] + [625.0] * frames]),
                torch.tensor(text),
                enable_diffusion_forcing=True,
                return_dict=False,
            )[0][:, :, -frames:]
        np.testing.assert_allclose(rearrange(ours, "b f h w c -> b c f h w"), expected, atol=1e-4, rtol=0)
        x0 = clean[:, :, index * frames : (index + 1) * frames]
        memory = block.refresh(
            dit, settings, memory, view, prompt, jnp.asarray(rearrange(x0, "b c f h w -> b f h w c"))
        )


def test_one_block_over_an_empty_buffer_equals_the_bidirectional_network():
    dit = parameters.random(WanDiT, TINY)
    settings = BlockSettings(SelfForcing(window=5), FewSteps(), 5)
    prompt = dit.encode_prompt(jnp.asarray(random((2, TINY.text_length, TINY.text_width))))
    x = jnp.asarray(random((2, 5, HEIGHT, WIDTH, 16)))
    timesteps = jnp.asarray(np.float32([[1000, 500, 3.5, 0, 77]] * 2))
    memory, view = block.open_block(settings, TINY, block.empty_memory(dit, settings, 2, HEIGHT, WIDTH), HEIGHT, WIDTH)
    causal = dit.causal(x, timesteps, prompt, block.cache_of(memory), view)
    np.testing.assert_allclose(causal, dit(x, timesteps, prompt), atol=1e-5)


def test_each_frame_has_its_own_timestep_and_each_item_its_own_result():
    dit = parameters.random(WanDiT, TINY)
    prompt = dit.encode_prompt(jnp.asarray(random((2, TINY.text_length, TINY.text_width))))
    x = jnp.asarray(random((2, 2, HEIGHT, WIDTH, 16)))
    both = dit(x, jnp.float32([[500, 500], [900, 100]]), prompt)
    alone = dit(x[1:], jnp.float32([[900, 100]]), jax.tree.map(lambda kv: kv[:, 1:], prompt))
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)
    same_timestep = dit(x[1:], jnp.float32([[900, 900]]), jax.tree.map(lambda kv: kv[:, 1:], prompt))
    assert np.abs(same_timestep - alone).max() > 1e-3


@pytest.mark.parametrize("frames", [2, 3])
def test_block_causal_in_one_pass_equals_diffusers(frames):
    oracle = diffusers_network(SkyReelsV2Transformer3DModel, inject_sample_info=False)
    oracle._set_ar_attention(frames)
    dit = dit_from_torch(arrays(oracle), SETTINGS)
    x, text = random((1, 16, 6, HEIGHT, WIDTH)), random((1, TINY.text_length, TINY.text_width))
    timesteps = jnp.float32([[900, 900, 900, 20, 20, 20]])
    with torch.no_grad():
        given = (torch.tensor(np.asarray(array)) for array in (x, timesteps, text))
        expected = oracle(*given, enable_diffusion_forcing=True, return_dict=False)[0]
    prompt = dit.encode_prompt(jnp.asarray(text))
    ours = dit.block_causal(jnp.asarray(rearrange(x, "b c f h w -> b f h w c")), timesteps, prompt, frames)
    np.testing.assert_allclose(rearrange(ours, "b f h w c -> b c f h w"), expected, atol=1e-4, rtol=0)


def test_block_causal_in_one_pass_equals_blocks_over_the_buffer():
    """And so do gradients, as far as they go through the block itself."""
    frames, blocks = 2, 3
    dit = parameters.random(WanDiT, TINY)
    settings = BlockSettings(SelfForcing(), FewSteps(context_timestep=500), frames)
    prompt = dit.encode_prompt(jnp.asarray(random((2, TINY.text_length, TINY.text_width))))
    x = jnp.asarray(random((2, frames * blocks, HEIGHT, WIDTH, 16)))
    timesteps = jnp.full(x.shape[:2], 500.0)
    memory = block.empty_memory(dit, settings, 2, HEIGHT, WIDTH)
    for index in range(blocks):
        part = slice(index * frames, (index + 1) * frames)
        memory, view = block.open_block(settings, TINY, memory, HEIGHT, WIDTH)

        def of_block(own, part=part, memory=memory, view=view):
            return dit.causal(own, timesteps[:, part], prompt, block.cache_of(memory), view)

        def of_clip(own, part=part):
            return dit.block_causal(x.at[:, part].set(own), timesteps, prompt, frames)[:, part]

        ours, pull_back = jax.vjp(of_block, x[:, part])
        expected, pull_back_whole = jax.vjp(of_clip, x[:, part])
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        np.testing.assert_allclose(pull_back(ours)[0], pull_back_whole(ours)[0], atol=1e-5)
        memory = block.refresh(dit, settings, memory, view, prompt, x[:, part])


def test_a_clip_that_is_not_whole_blocks_is_refused():
    dit, prompt, x, timesteps = small_case()
    with pytest.raises(ValueError, match="got 2 frames in blocks of 3"):
        dit.block_causal(x, timesteps, prompt, 3)


@pytest.mark.parametrize(
    "name", ["layer", *(pytest.param(name, marks=pytest.mark.slow) for name in REMAT if name not in ("none", "layer"))]
)
def test_remat_changes_nothing_but_memory(name):
    dit, prompt, x, timesteps = small_case()

    def loss(dit):
        return jnp.sum(dit(x, timesteps, prompt) ** 2)

    plain = parameters.named(jax.grad(loss)(dit))
    config = dataclasses.replace(TINY, remat=name)
    remat = parameters.filled(parameters.abstract(WanDiT, config), parameters.named(dit))
    for path, gradient in parameters.named(jax.grad(loss)(remat)).items():
        np.testing.assert_allclose(gradient, plain[path], atol=1e-5, rtol=1e-4, err_msg=path)


def test_remat_keeps_what_its_name_says():
    """Counted in residuals of one gradient: everything, products of matrices, or only what goes into a layer."""
    dit, prompt, x, timesteps = small_case()

    def kept(name):
        config = dataclasses.replace(TINY, remat=name)
        network = parameters.filled(parameters.abstract(WanDiT, config), parameters.named(dit))
        _, pull_back = jax.eval_shape(lambda network: jax.vjp(lambda n: n(x, timesteps, prompt), network), network)
        return sum(leaf.size for leaf in jax.tree.leaves(pull_back))

    assert kept("layer") < kept("dots") < kept("none")


def test_bfloat16_is_near_float32():
    dit, prompt, x, timesteps = small_case()
    config = dataclasses.replace(TINY, dtype="bfloat16")
    low = parameters.filled(parameters.abstract(WanDiT, config), parameters.named(dit))
    low_prompt = jax.tree.map(lambda kv: kv.astype(jnp.bfloat16), prompt)
    exact, ours = dit(x, timesteps, prompt), low(x, timesteps, low_prompt)
    assert ours.dtype == jnp.float32
    assert np.linalg.norm(ours - exact) < 3e-2 * np.linalg.norm(exact)


def test_norms_and_timestep_stay_in_float32():
    x = jnp.full((1, 4096), 300, jnp.bfloat16)  # in bfloat16 the sum of squares would stop growing
    np.testing.assert_allclose(np.float32(rms_norm(x, jnp.ones(4096), 1e-6)), 1, rtol=1e-2)
    dit = parameters.abstract(WanDiT, dataclasses.replace(TINY, dtype="bfloat16"))
    for layer in (dit.time_embed.fc1, dit.time_embed.fc2, dit.time_project):
        assert layer.dtype == jnp.float32
        assert layer.precision == jax.lax.Precision.HIGHEST


@pytest.mark.parametrize(("size", "billions"), [("1.3b", 1.419), ("14b", 14.288)])
def test_real_sizes_without_memory(size, billions):
    config = DIT_SIZES[size]
    dit = parameters.abstract(WanDiT, config)
    count = sum(leaf.size for leaf in parameters.named(dit).values())
    assert round(count / 1e9, 3) == billions
    x = jax.ShapeDtypeStruct((1, 21, 60, 104, 16), jnp.float32)
    text = jax.ShapeDtypeStruct((1, config.text_length, config.text_width), jnp.bfloat16)
    timesteps = jax.ShapeDtypeStruct((1, 21), jnp.float32)
    out = jax.eval_shape(lambda dit, x, t, text: dit(x, t, dit.encode_prompt(text)), dit, x, timesteps, text)
    assert out.shape == x.shape
    assert config.tokens_per_frame(60, 104) == 60 * 104 // 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "got width 64 and heads 5"),
        ({"heads": 0}, "got width 64 and heads 0"),
        ({"heads": 32}, "at least 6 channels"),
        ({"dtype": "float16"}, "got 'float16'"),
        ({"remat": "full"}, "remat must be one of none, layer, dots, got 'full'"),
        ({"frequency_width": 31}, "frequency_width must be even"),
    ],
)
def test_sizes_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_inputs_that_do_not_fit_are_refused():
    dit, prompt, x, timesteps = small_case()
    with pytest.raises(ValueError, match="must be multiples of 2, got 3x6"):
        dit(x[:, :, :3], timesteps, prompt)
    with pytest.raises(ValueError, match=r"must be \[batch, 16, 48\], got \[1, 8, 48\]"):
        dit.encode_prompt(jnp.zeros((1, 8, 48)))


def small_case():
    dit = parameters.random(WanDiT, TINY)
    prompt = dit.encode_prompt(jnp.asarray(random((1, TINY.text_length, TINY.text_width))))
    return dit, prompt, jnp.asarray(random((1, 2, HEIGHT, WIDTH, 16))), jnp.float32([[937.5, 20]])


def diffusers_network(kind, **more):
    """A network of diffusers whose weights are moved off zero and one, so that each of them counts."""
    torch.manual_seed(0)
    network = kind(
        num_attention_heads=TINY.heads,
        attention_head_dim=TINY.head_width,
        num_layers=TINY.layers,
        ffn_dim=TINY.ffn_width,
        text_dim=TINY.text_width,
        freq_dim=TINY.frequency_width,
        in_channels=TINY.channels,
        out_channels=TINY.channels,
        **more,
    ).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor += 0.1 * torch.randn(tensor.shape)
    return network


def arrays(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pad(context, length):
    return np.pad(context, ((0, length - context.shape[0]), (0, 0)))
