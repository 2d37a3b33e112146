"""Batches of items, whose order depends on the seed and on nothing else.

All items of all epochs form one endless sequence, in which every epoch is shuffled anew. The batch of step s is the
items s * batch ... (s + 1) * batch - 1 of it, across the ends of epochs, and process p takes the p-th of `count` equal
pieces. So the position is the number of steps, whatever the number of processes is.
"""

import sys
from collections.abc import Mapping, Sequence

import grain
import numpy as np

from steady_jax.data.records import check_part

Item = Mapping[str, np.ndarray | np.generic | str]


def batches(
    items: grain.MapDataset, *, batch: int, part: tuple[int, int] = (0, 1), seed: int, threads: int = 4
) -> grain.DatasetIterator:
    """Endless batches of this process.

    Args:
        items: dicts with the same keys and shapes, as from `open_items`.
        batch: items of a step, of all processes together.
        part: this process, counted from 0, and how many there are.
        seed: of the order, 0..2**32 - 1.
        threads: each reads one batch ahead; 0 reads when asked. They change nothing but the time.

    Returns:
        An iterator over dicts of arrays [batch // count ...]; text is an array of str. `get_state()` is a dict for
        JSON; `set_state` goes on from there, also with another number of processes, but only with the same batch, seed
        and items.

    Raises:
        ValueError: batch, part or seed cannot be, or there are no items.
    """
    check_part(part)
    if batch < 1 or batch % part[1]:
        raise ValueError(f"a batch is shared equally by {part[1]} processes, got {batch} items")
    if not 0 <= seed < 2**32:
        raise ValueError(f"a seed of the order is 0..{2**32 - 1}, got {seed}")
    if not len(items):
        raise ValueError("there are no items to make batches of")
    mine = _Batches(items.shuffle(seed).repeat(), batch, part)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return iter(grain.MapDataset.source(mine).to_iter_dataset(options))


class _Batches:
    """The batches of a process by step."""

    def __init__(self, sequence: grain.MapDataset, batch: int, part: tuple[int, int]) -> None:
        self._sequence, self._batch, self._part = sequence, batch, part

    def __len__(self) -> int:
        return sys.maxsize // self._batch

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        process, count = self._part
        share = self._batch // count
        first = step * self._batch + process * share
        return stacked([self._sequence[number] for number in range(first, first + share)])


def stacked(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Items as one dict of arrays with the items on the first axis.

    Raises:
        ValueError: they differ in keys, shapes or types.
    """
    if len({frozenset(item) for item in items}) > 1:
        raise ValueError(f"items of a batch have the same keys, got {sorted({tuple(sorted(item)) for item in items})}")
    return {key: _stacked(key, [np.asarray(item[key]) for item in items]) for key in items[0]}


def _stacked(key: str, values: Sequence[np.ndarray]) -> np.ndarray:
    texts = all(value.dtype.kind == "U" for value in values)
    kinds = {(value.shape, "text" if texts else str(value.dtype)) for value in values}
    if len(kinds) > 1:
        raise ValueError(f"{key} of a batch has one shape and type, got {sorted(kinds)}")
    return np.stack(values)
