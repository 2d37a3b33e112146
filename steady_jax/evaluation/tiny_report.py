"""Tables of an evaluation of the tiny model (scripts/evaluate_tiny.py), as Markdown.

Results are records by source and kind of scene: what the classifier named in the first and the last five seconds, the
measures of steady_jax.evaluation.report of the first five seconds and of the whole video, and its sharpness.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from steady_jax.evaluation.energy import bootstrap_interval

Record = Mapping[str, object]
Results = Mapping[str, Mapping[str, Sequence[Record]]]  # by source, then kind

ENERGIES = tuple(f"energy_{quarter}" for quarter in range(1, 5))


def markdown(results: Results) -> str:
    """All tables."""
    parts = {
        "Named rightly": _named(results),
        "First five seconds": _beginnings(results),
        "Stillness: dB of the background, last second against first": _by_kind(results, _whole("background_psnr")),
        "Motion: flow of the last quarter over the first": _by_kind(results, _whole("energy_ratio")),
        **{f"Confusion, {source}, last five seconds": _confusion(of_kind) for source, of_kind in results.items()},
    }
    return "\n".join(f"## {title}\n\n{table}\n" for title, table in parts.items())


def accuracy(of_kind: Mapping[str, Sequence[Record]], which: str) -> tuple[float, tuple[float, float]]:
    """Share of the videos that are named rightly, and its 95 % interval.

    Args:
        which: "first_named" or "last_named".
    """
    right = np.array([float(one[which] == kind) for kind, rows in of_kind.items() for one in rows])
    return float(right.mean()), bootstrap_interval(right)


def medians(of_kind: Mapping[str, Sequence[Record]], value: Callable[[Record], float | None]) -> dict[str, float]:
    """The median of each kind over the videos that have a value."""
    found = {kind: [number for one in rows if (number := value(one)) is not None] for kind, rows in of_kind.items()}
    return {kind: statistics.median(values) for kind, values in found.items() if values}


def _named(results: Results) -> str:
    rows = []
    for source, of_kind in results.items():
        cells = [f"{share:.2f} ({low:.2f} to {high:.2f})" for share, (low, high) in _accuracies(of_kind)]
        rows.append([source, sum(map(len, of_kind.values())), *cells])
    return _table(["source", "videos", "first 5 s", "last 5 s"], rows)


def _accuracies(of_kind: Mapping[str, Sequence[Record]]) -> list[tuple[float, tuple[float, float]]]:
    return [accuracy(of_kind, which) for which in ("first_named", "last_named")]


def _beginnings(results: Results) -> str:
    def energy(one: Record) -> float | None:
        quarters = [one["first"][name] for name in ENERGIES]
        return None if None in quarters else statistics.mean(quarters)

    columns: dict[str, Callable[[Record], float | None]] = {
        "sharpness": lambda one: one["sharpness"],
        "motion": energy,
        "background, dB": lambda one: one["first"]["background_psnr"],
    }
    rows = []
    for source, of_kind in results.items():
        found = [medians(of_kind, value).values() for value in columns.values()]
        rows.append([source, *(f"{_median(values):.2f}" for values in found)])
    return _table(["source", *columns], rows)


def _by_kind(results: Results, value: Callable[[Record], float | None]) -> str:
    kinds = list(next(iter(results.values())))
    rows = []
    for source, of_kind in results.items():
        found = medians(of_kind, value)
        cells = [f"{found[kind]:.2f}" if kind in found else "none" for kind in kinds]
        rows.append([source, *cells, f"{_median(found.values()):.2f}"])
    return _table(["source", *kinds, "median"], rows)


def _whole(name: str) -> Callable[[Record], float | None]:
    return lambda one: one["whole"][name]


def _confusion(of_kind: Mapping[str, Sequence[Record]]) -> str:
    named = sorted({str(one["last_named"]) for rows in of_kind.values() for one in rows} | set(of_kind))
    rows = [
        [kind, *(sum(one["last_named"] == other for one in of_kind[kind]) or "" for other in named)] for kind in of_kind
    ]
    return _table(["is, and is named", *named], rows)


def _median(values: Iterable[float]) -> float:
    values = list(values)
    return statistics.median(values) if values else float("nan")


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
