"""Small models that the tests of stages share."""

import functools

import jax
import pytest
from helpers_stages import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The checkpoint folder of a seed: all parts, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    return functools.cache(lambda seed: write_model(folder / f"model-{seed}", seed))


@pytest.fixture(scope="module")
def compiled_quickly():
    """Programs of the module are compiled in half the time and run slower; for those that run a few times."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
