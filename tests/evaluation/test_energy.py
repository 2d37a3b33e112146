import numpy as np
import pytest

from steady_jax.evaluation.energy import bootstrap_interval, energy_distances


def drawn(seed, prompts=200, count=4, values=3, shift=0.0):
    return np.random.default_rng(seed).standard_normal((prompts, count, values)) + shift


def test_by_hand():
    samples, references = np.array([[[0.0], [2.0]]]), np.array([[[1.0], [5.0]]])
    # between: 1, 5, 1, 3; within: 2 and 4
    np.testing.assert_allclose(energy_distances(samples, references), [2 * 2.5 - 2 - 4])


def test_equal_distributions_have_no_distance_on_average():
    found = energy_distances(drawn(0), drawn(1))
    low, high = bootstrap_interval(found)
    assert low < 0 < high
    assert abs(found.mean()) < 0.05


def test_it_grows_with_what_differs():
    small, large = (energy_distances(drawn(0), drawn(1, shift=shift)).mean() for shift in (0.5, 1.0))
    assert 0 < small < large


def test_it_does_not_depend_on_the_number_of_equal_values():
    one = energy_distances(drawn(0, values=1), drawn(1, values=1, shift=1))
    many = energy_distances(np.repeat(drawn(0, values=1), 50, 2), np.repeat(drawn(1, values=1, shift=1), 50, 2))
    np.testing.assert_allclose(one, many)


def test_the_interval_holds_the_mean_and_narrows_with_prompts():
    values = np.random.default_rng(2).standard_normal(400) + 3
    low, high = bootstrap_interval(values)
    few_low, few_high = bootstrap_interval(values[:25])
    assert low < values.mean() < high
    assert high - low < few_high - few_low
    assert high - low == pytest.approx(4 / 20, rel=0.15)  # two standard errors each way


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="at least 2 samples per prompt, got 1 and 4"):
        energy_distances(drawn(0, count=1), drawn(1))
