import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from steady_jax.train.optimiser import OptimiserSettings, updated
from steady_jax.train.state import begin

UPDATES, RATE = 8, 1e-2


class Weights(nnx.Module):
    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.a = nnx.Param(jnp.asarray(rng.standard_normal((3, 4)), jnp.float32))
        self.b = nnx.Param(jnp.asarray(rng.standard_normal(5), jnp.float32))


def go(settings, updates=UPDATES, scale=1.0):
    """The network after each of some updates, and the gradients' norms."""
    optimiser, trained, all_of_it = settings.make(updates), None, []
    trained = begin(Weights(0), optimiser, averaged=settings.average > 0)
    step = jax.jit(lambda trained, gradients, count: updated(trained, gradients, optimiser, settings, count))
    for count in range(updates):
        gradients = jax.tree.map(lambda leaf: scale * leaf, Weights(count + 1))
        trained, norm = step(trained, gradients, jnp.int32(count))
        all_of_it.append((trained, float(norm)))
    return all_of_it


def reference(optimiser, updates=UPDATES, scale=1.0):
    weights = Weights(0)
    state, found = optimiser.init(weights), []
    for count in range(updates):
        gradients = jax.tree.map(lambda leaf: scale * leaf, Weights(count + 1))
        steps, state = optimiser.update(gradients, state, weights)
        weights = optax.apply_updates(weights, steps)
        found.append(weights)
    return found


def assert_same(found, expected):
    for (trained, _), weights in zip(found, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), trained.weights, weights)


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_it_is_adamw(b1):
    settings = OptimiserSettings(RATE, b1=b1, weight_decay=0.1, clip=0.0)
    assert_same(go(settings), reference(optax.adamw(RATE, b1=b1, b2=0.999, weight_decay=0.1)))


def test_without_momentum_one_number_per_weight_is_kept():
    kept = [OptimiserSettings(RATE, b1=b1).make(UPDATES).init(Weights(0)) for b1 in (0.0, 0.9)]
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) for state in kept]
    assert sizes == [17, 34]


def test_gradients_are_clipped_by_their_norm_over_all_arrays():
    # a large eps makes steps proportional to gradients: Adam would hide their size
    settings = OptimiserSettings(RATE, eps=1e3, weight_decay=0.0, clip=0.5)
    chain = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(RATE, b1=0.0, b2=0.999, eps=1e3, weight_decay=0.0))
    found = go(settings, scale=3.0)
    assert_same(found, reference(chain, scale=3.0))
    moved = [leaf - start for leaf, start in zip(*map(jax.tree.leaves, (found[0][0].weights, Weights(0))), strict=True)]
    np.testing.assert_allclose(np.sqrt(sum((leaf**2).sum() for leaf in moved)), RATE * 0.5 / 1e3, rtol=1e-2)
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(Weights(1))))
    np.testing.assert_allclose(found[0][1], 3 * norm, rtol=1e-5)  # what is told is the norm before clipping


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (OptimiserSettings(RATE), [RATE] * 5),
        (OptimiserSettings(RATE, warmup=4), [0, RATE / 4, RATE / 2, 3 * RATE / 4, RATE, RATE]),
        (OptimiserSettings(RATE, schedule="cosine"), [RATE * (1 + np.cos(np.pi * k / UPDATES)) / 2 for k in range(8)]),
        (
            OptimiserSettings(RATE, schedule="cosine", warmup=2),
            [0, RATE / 2, *(RATE * (1 + np.cos(np.pi * k / 6)) / 2 for k in range(7))],
        ),
    ],
    ids=["constant", "warmup", "cosine", "both"],
)
def test_learning_rates(settings, rates):
    rate = settings.rate(UPDATES)
    found = [rate(count) if callable(rate) else rate for count in range(len(rates))]
    np.testing.assert_allclose(found, rates, atol=1e-8)


def test_the_average_is_a_copy_up_to_its_step_and_then_follows():
    settings = OptimiserSettings(RATE, average=0.75, average_from=3)
    states = [trained for trained, _ in go(settings, 5)]
    for trained in states[:3]:
        jax.tree.map(np.testing.assert_array_equal, trained.average, trained.weights)
    for before, after in itertools.pairwise(states[2:]):
        expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, before.average, after.weights)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.average, expected)
    assert go(OptimiserSettings(RATE), 1)[0][0].average is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"clip": -1.0}, "clip must not be negative, got -1.0; 0 switches clipping off"),
        ({"b1": 1.0}, "b1 must lie in 0..1, below 1, got 1.0"),
        ({"average": -0.1}, "average must lie in 0..1, below 1, got -0.1"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine, got 'linear'"),
        ({"warmup": -1}, "warmup must not be negative, got -1"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        OptimiserSettings(**{"learning_rate": RATE, **wrong})


def test_a_warmup_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match="warmup must be shorter than the training, got 8 of 8 updates"):
        OptimiserSettings(RATE, warmup=8).make(8)
