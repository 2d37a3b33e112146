import dataclasses

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from helpers_convert import InMemory

from converters import table, wan_vae
from steady_jax import parameters
from steady_jax.models.wan_vae import VAEConfig, WanVAE

TINY = VAEConfig(
    channels=3,
    width=2,
    multipliers=(1, 3, 2),
    res_blocks=1,
    temporal_downsample=(True, False),
    patch=2,
    latent_mean=(0.0, 1.0, 2.0),
    latent_std=(1.0, 2.0, 3.0),
)
SETTINGS = {"latents_mean": list(TINY.latent_mean), "latents_std": list(TINY.latent_std)}
LAYOUTS = ("original", "diffusers")


def torch_shapes(config, layout):
    network = parameters.named(parameters.abstract(WanVAE, config))
    return table.torch_shapes(wan_vae.tables(config)[layout], network)


def shapes_of(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_survive_the_way_there_and_back(layout):
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in torch_shapes(TINY, layout).items()}
    shapes = shapes_of(weights)
    assert wan_vae.identify(shapes) == layout
    config = wan_vae.config_from(shapes, layout, SETTINGS)
    assert config == TINY
    rules, network = wan_vae.tables(config)[layout], parameters.named(parameters.abstract(WanVAE, config))
    tensors = {name: InMemory(array) for name, array in weights.items()}
    assert table.problems(rules, network, tensors) == []
    arrays = dict(table.to_flax(rules, network, tensors))
    assert {path: array.shape for path, array in arrays.items()} == {path: leaf.shape for path, leaf in network.items()}
    back = dict(table.to_torch(rules, arrays))
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_diffusers_names_at_full_size():
    with torch.device("meta"):
        network = AutoencoderKLWan()
    shapes = shapes_of(network.state_dict())
    assert wan_vae.identify(shapes) == "diffusers"
    assert wan_vae.config_from(shapes, "diffusers", dict(network.config)) == VAEConfig()
    assert torch_shapes(VAEConfig(), "diffusers") == shapes
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 126_892_531


@pytest.mark.fixtures
def test_every_tensor_of_the_checkpoint_has_its_rule(manifest):
    shapes = manifest("wan2.1_vae")
    assert wan_vae.identify(shapes) == "original"
    assert wan_vae.config_from(shapes, "original") == VAEConfig()
    assert torch_shapes(VAEConfig(), "original") == shapes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_of_kernels_are_read_from_shapes(layout):
    flat = dataclasses.replace(TINY, temporal_kernels=(1, 1, 3))
    assert wan_vae.config_from(torch_shapes(flat, layout), layout, SETTINGS) == flat


def test_other_networks_are_not_taken_for_a_wan_vae():
    images = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=2)
    assert wan_vae.identify(shapes_of(images.state_dict())) is None
    with torch.device("meta"):
        wan22 = AutoencoderKLWan(is_residual=True, patch_size=2, in_channels=12, out_channels=12)
    assert wan_vae.identify(shapes_of(wan22.state_dict())) is None
    assert wan_vae.identify({"patch_embedding.weight": (8, 4, 1, 2, 2)}) is None
    assert wan_vae.identify({}) is None


def test_missing_tensors_are_named():
    shapes = torch_shapes(TINY, "original")
    tensors = {name: InMemory(np.zeros(shape, np.float32)) for name, shape in shapes.items()}
    del tensors["decoder.middle.1.proj.bias"]
    network = parameters.named(parameters.abstract(WanVAE, TINY))
    found = table.problems(wan_vae.tables(TINY)["original"], network, tensors)
    assert found == [f"missing decoder.middle.1.proj.bias ({2 * TINY.width},)"]
    del shapes["conv2.weight"]
    with pytest.raises(ValueError, match=r"missing here: \['conv2.weight'\]"):
        wan_vae.config_from(shapes, "original")
