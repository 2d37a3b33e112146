import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from helpers_convert import dit_from_torch


@pytest.mark.fixtures
def test_fixture(published):
    numbers = published("wan_t2v_tiny")
    dit = dit_from_torch(numbers.parameters, numbers.meta["config"])
    context = {name: _padded(numbers[f"in:context{name}"], numbers.meta["config"]["text_len"]) for name in "AB"}
    cases = {"A": ([0], ["A"]), "B": ([0], ["B"]), "C": ([0, 1], ["A", "B"])}
    for case, (items, contexts) in cases.items():
        x = rearrange(numbers["in:x"][items], "b c f h w -> b f h w c")
        timesteps = np.repeat(numbers["in:t"][items, None], x.shape[1], axis=1)
        prompt = jnp.stack([context[name] for name in contexts])
        velocity = jax.jit(lambda dit, x, t, p: dit(x, t, dit.encode_prompt(p)))(dit, x, timesteps, prompt)
        np.testing.assert_allclose(
            rearrange(velocity, "b f h w c -> b c f h w"), numbers[f"out:{case}"], atol=1e-4, rtol=0
        )


def _padded(context, length):
    return np.pad(context, ((0, length - context.shape[0]), (0, 0)))
