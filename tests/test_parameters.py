import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from steady_jax import parameters
from steady_jax.nn.modules import stacked
from steady_jax.program import Program


class Layer(nnx.Module):
    def __init__(self, width, *, rngs):
        self.q = nnx.Linear(width, width, rngs=rngs)


class Network(nnx.Module):
    def __init__(self, width, *, rngs):
        self.scale = nnx.Param(jnp.ones(width))
        self.layers = stacked(lambda rngs: Layer(width, rngs=rngs), 3, rngs)


def test_names_join_attributes_and_stacked_layers_are_one_array():
    network = parameters.random(Network, 4)
    shapes = {path: array.shape for path, array in parameters.named(network).items()}
    assert shapes == {"layers/q/bias": (3, 4), "layers/q/kernel": (3, 4, 4), "scale": (4,)}
    kernels = network.layers.q.kernel[...]
    assert np.abs(kernels[0] - kernels[1]).max() > 0  # each layer has weights of its own


def test_abstract_networks_hold_shapes_only():
    leaves = parameters.named(parameters.abstract(Network, 4)).values()
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def test_random_weights_follow_seed_and_dtype():
    one, same, other = (parameters.named(parameters.random(Network, 4, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one["layers/q/kernel"], same["layers/q/kernel"])
    assert np.abs(one["layers/q/kernel"] - other["layers/q/kernel"]).max() > 0
    assert parameters.named(parameters.random(Network, 4, dtype=jnp.bfloat16))["scale"].dtype == jnp.bfloat16


def test_a_filled_network_holds_the_arrays_it_was_given():
    arrays = {path: np.full(leaf.shape, 7) for path, leaf in parameters.named(parameters.abstract(Network, 4)).items()}
    network = parameters.filled(parameters.abstract(Network, 4), arrays)
    assert parameters.named(network) == arrays


def test_everything_that_does_not_fit_is_listed_at_once():
    arrays = {"scale": np.zeros(5), "layers/q/kernel": np.zeros((3, 4, 4)), "extra": np.zeros(2)}
    with pytest.raises(ValueError, match="3 parameters do not fit") as caught:
        parameters.filled(parameters.abstract(Network, 4), arrays)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "missing layers/q/bias (3, 4)",
        "unknown extra (2,)",
        "scale has shape (5,), the network needs (4,)",
    ]


def test_a_program_is_compiled_once_and_knows_its_memory():
    traced = []

    def double(x):
        traced.append(x.shape)
        return 2 * x

    program = Program(double, donate=[0])
    assert program.memory == {}
    np.testing.assert_array_equal(program(jnp.arange(4.0)), [0, 2, 4, 6])
    np.testing.assert_array_equal(program(jnp.ones(4)), [2, 2, 2, 2])
    assert traced == [(4,)]
    assert program.compile_seconds > 0
    assert program.memory["arguments"] == 16
    assert program.memory["results"] == 0  # the donated argument's memory is used again
    with pytest.raises(TypeError):
        program(jnp.ones(5))
