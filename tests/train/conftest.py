"""Small models that the tests of stages share."""

import functools

import pytest
from helpers_stages import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The checkpoint folder of a seed: all parts, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    return functools.cache(lambda seed: write_model(folder / f"model-{seed}", seed))
