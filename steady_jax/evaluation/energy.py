"""How far one source of samples is from another, prompt by prompt, and how sure that is.

    D = 2 E|s - t| - E|s - s'| - E|t - t'|                                    (1)

is the energy distance of two distributions, s and s' independent samples of one, t and t' of the other, |.| Euclidean
and divided by the root of the number of values. It is 0 only where the distributions are equal, and needs no network.
Means over pairs of different samples make the estimate unbiased, so single values may be negative.

Source: Szekely and Rizzo, "Energy statistics" (J. Stat. Plan. Inference 143, 2013).
"""

import numpy as np

from steady_jax.shapes import Float


def energy_distances(
    samples: Float[np.ndarray, "p k d"], references: Float[np.ndarray, "p m d"]
) -> Float[np.ndarray, "p"]:
    """Equation (1) for each of p prompts, from k samples and m references of d values.

    Raises:
        ValueError: fewer than two of either.
    """
    if min(samples.shape[1], references.shape[1]) < 2:
        raise ValueError(
            f"the energy distance takes at least 2 samples per prompt, got {samples.shape[1]} and {references.shape[1]}"
        )
    pairs = zip(samples, references, strict=True)
    return np.array([2 * _between(s, t).mean() - _within(s) - _within(t) for s, t in pairs])


def bootstrap_interval(
    values: Float[np.ndarray, "p"], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The interval in which the mean of the values lies with probability `level`, by drawing prompts with return."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _between(a: Float[np.ndarray, "k d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "k m"]:
    a, b = a.astype(np.float64), b.astype(np.float64)  # squares of long vectors cancel
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0) / a.shape[1])


def _within(a: Float[np.ndarray, "k d"]) -> float:
    count = len(a)
    distances = _between(a, a)
    np.fill_diagonal(distances, 0)  # roundings
    return distances.sum() / (count * (count - 1))
