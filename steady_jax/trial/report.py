"""Tables of a trial, as Markdown, from its records by source and kind (steady_jax.trial.record).

A cell is the median over the videos of a kind, the last column the median over kinds. A measure may abstain: then the
video does not count, and a table tells how often. Motion is another matter: a video without any has kept none of it.
"""

import functools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from steady_jax.evaluation.energy import bootstrap_interval
from steady_jax.evaluation.report import TRUE
from steady_jax.evaluation.summary import Summary, paired
from steady_jax.trial.record import Record

OfKind = Mapping[str, Sequence[Record]]
Results = Mapping[str, OfKind]  # by source, then kind
Value = Callable[[Record], float | None]

PROCEDURAL, TEACHER, STUDENT, WINDOW = "procedural", "teacher", "steady", "window"
QUARTERS = tuple(f"visible_{quarter}" for quarter in range(1, 5))


def markdown(results: Results) -> str:
    """All tables."""
    by_kind = {
        "Stillness: dB of the background, mean of the last second against the first": _whole("background_psnr"),
        "Stillness of single frames: the same without means": _whole("background_psnr_of_frames"),
        "Motion: flow of the last quarter over the first": functools.partial(motion_kept, "energy_ratio"),
        "Visible motion: the same of flow that changes the picture visibly": functools.partial(
            motion_kept, "visible_ratio"
        ),
    }
    parts = {
        "Named rightly": _named(results),
        **{title: _by_kind(results, value) for title, value in by_kind.items()},
        "Motion left: visible flow of the last quarter over that of procedural clips": _motion_left(results),
        "First five seconds": _beginnings(results),
        **_differences(results),
        "All measures of whole videos": _all_measures(results),
        **{f"Confusion, {source}, last five seconds": _confusion(of_kind) for source, of_kind in results.items()},
    }
    return "\n".join(f"## {title}\n\n{table}\n" for title, table in parts.items() if table)


def accuracy(of_kind: OfKind, which: str) -> tuple[float, tuple[float, float]]:
    """Share of the videos that are named rightly, and its 95 % interval.

    Args:
        which: "first_named" or "last_named".
    """
    right = np.array([_right(which, one) for one in _records(of_kind)])
    return float(right.mean()), bootstrap_interval(right)


def medians(of_kind: OfKind, value: Value) -> dict[str, float]:
    """The median of each kind over the videos that have a value."""
    found = {kind: [number for one in rows if (number := value(one)) is not None] for kind, rows in of_kind.items()}
    return {kind: statistics.median(values) for kind, values in found.items() if values}


def motion_kept(ratio: str, one: Record) -> float:
    """Motion of the last quarter over the first; 0 of a video in which nothing moved at first or at all."""
    return one["whole"][ratio] or 0.0


def early_motion(one: Record) -> float:
    """Visible motion of the first five seconds, in pixels of 288 rows per pair; 0 where nothing moved."""
    quarters = [one["first"][name] for name in QUARTERS]
    return 0.0 if None in quarters else statistics.mean(quarters)


def _right(which: str, one: Record) -> float:
    return float(one[which] == one["kind"])


def _whole(name: str) -> Value:
    return lambda one: one["whole"].get(name)


def _named(results: Results) -> str:
    rows = []
    for source, of_kind in results.items():
        found = [accuracy(of_kind, which) for which in ("first_named", "last_named")]
        cells = [f"{share:.2f} ({_interval(interval)})" for share, interval in found]
        rows.append([source, sum(map(len, of_kind.values())), *cells])
    return _table(["source", "videos", "first 5 s", "last 5 s"], rows)


def _by_kind(results: Results, value: Value) -> str:
    kinds = list(next(iter(results.values())))
    rows = []
    for source, of_kind in results.items():
        found = medians(of_kind, value)
        rows.append([source, *(_cell(found.get(kind)) for kind in kinds), _cell(_median(found.values()))])
    return _table(["source", *kinds, "median"], rows)


def _motion_left(results: Results) -> str:
    """Of kinds: a video that all but stood still from the beginning has kept its motion, and has little of it."""
    if PROCEDURAL not in results:
        return ""
    real = {kind: statistics.median(map(early_motion, rows)) for kind, rows in results[PROCEDURAL].items()}
    kinds, rows = list(real), []
    for source, of_kind in results.items():
        late = medians(of_kind, lambda one: one["whole"][QUARTERS[-1]] or 0.0)
        shares = {kind: late[kind] / real[kind] for kind in kinds if real[kind] > 0}
        rows.append([source, *(_cell(shares.get(kind)) for kind in kinds), _cell(_median(shares.values()))])
    return _table(["source", *kinds, "median"], rows)


def _beginnings(results: Results) -> str:
    columns: dict[str, Value] = {
        "sharpness": lambda one: one["sharpness"],
        "motion": early_motion,
        "background, dB": lambda one: one["first"]["background_psnr"],
    }
    rows = []
    for source, of_kind in results.items():
        found = [medians(of_kind, value).values() for value in columns.values()]
        rows.append([source, *(_cell(_median(values)) for values in found)])
    return _table(["source", *columns], rows)


def _differences(results: Results) -> dict[str, str]:
    """The student against its teacher, and its memory against a plain window, on the same prompts."""
    beginnings: dict[str, Value] = {
        "named rightly, first 5 s": functools.partial(_right, "first_named"),
        "log2 of sharpness": lambda one: float(np.log2(max(one["sharpness"], 1e-3))),
        "log2 of motion": lambda one: float(np.log2(max(early_motion(one), 1e-3))),
        "background, dB": lambda one: one["first"]["background_psnr"],
    }
    whole: dict[str, Value] = {
        "named rightly, last 5 s": functools.partial(_right, "last_named"),
        **{name: _whole(name) for name in ("background_psnr", "fBD", "DLR", "FP", "late_psnr", "ciede2000_shift")},
        **{name: functools.partial(motion_kept, name) for name in ("energy_ratio", "visible_ratio")},
    }
    pairs = {
        f"{STUDENT} minus {TEACHER}": (STUDENT, TEACHER, beginnings),
        f"{STUDENT} minus {WINDOW}": (STUDENT, WINDOW, whole),
    }
    return {
        f"{title}, on the same prompts": _difference(results[one], results[other], values)
        for title, (one, other, values) in pairs.items()
        if one in results and other in results
    }


def _difference(one: OfKind, other: OfKind, values: Mapping[str, Value]) -> str:
    found = _paired(one, other, values)
    by_kind = [_paired({kind: one[kind]}, {kind: other[kind]}, values) for kind in one]
    rows = []
    for name, row in found.items():
        means = [_cell(part[name].mean) for part in (found, *by_kind)]
        rows.append([name, *means, _interval(row.interval), row.prompts, row.abstained])
    return _table(["measure", "mean difference", *one, "95 % interval of the mean", "prompts", "abstained"], rows)


def _paired(one: OfKind, other: OfKind, values: Mapping[str, Value]) -> Mapping[str, Summary]:
    return paired(*({key: [row] for key, row in _by_video(of_kind, values).items()} for of_kind in (one, other)))


def _by_video(of_kind: OfKind, values: Mapping[str, Value]) -> dict[str, dict[str, float | None]]:
    """The values of each video, by its kind and number."""
    return {
        f"{kind} {number}": {name: value(one) for name, value in values.items()}
        for kind, rows in of_kind.items()
        for number, one in enumerate(rows)
    }


def _all_measures(results: Results) -> str:
    """Medians over kinds; of known regions too, where there are some."""
    names = dict.fromkeys(name for of_kind in results.values() for one in _records(of_kind) for name in one["whole"])
    rows = []
    for name in names:
        cells = [_cell_of_all(of_kind, name) for of_kind in results.values()]
        rows.append([name.removesuffix(TRUE) + " (true region)" * name.endswith(TRUE), *cells])
    counted: dict[str, Callable[[Record], bool]] = {
        "videos without motion to measure": lambda one: one["whole"]["energy_ratio"] is None,
        "videos whose regions are a guess": lambda one: one["fell_back"],
    }
    for title, told in counted.items():
        rows.append([title, *(sum(map(told, _records(of_kind))) for of_kind in results.values())])
    return _table(["measure", *results], rows)


def _cell_of_all(of_kind: OfKind, name: str) -> str:
    told = [one["whole"][name] for one in _records(of_kind) if name in one["whole"]]
    abstained = sum(value is None for value in told)
    return _cell(_median(medians(of_kind, _whole(name)).values())) + f" ({abstained} abstain)" * bool(abstained)


def _records(of_kind: OfKind) -> list[Record]:
    return [one for rows in of_kind.values() for one in rows]


def _confusion(of_kind: OfKind) -> str:
    named = sorted({str(one["last_named"]) for one in _records(of_kind)} | set(of_kind))
    rows = [
        [kind, *(sum(one["last_named"] == other for one in of_kind[kind]) or "" for other in named)] for kind in of_kind
    ]
    return _table(["is, and is named", *named], rows)


def _median(values: Iterable[float]) -> float | None:
    values = list(values)
    return statistics.median(values) if values else None


def _cell(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "none" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
