import json

import grain
import numpy as np
import pytest

from steady_jax.data.batches import batches, stacked

COUNT = 10


def items():
    found = [{"number": np.array([number, -number]), "prompt": "x" * number} for number in range(COUNT)]
    return grain.MapDataset.source(found)


def numbers(iterator, steps):
    return [next(iterator)["number"][:, 0].tolist() for _ in range(steps)]


def test_parts_together_are_the_whole():
    whole = numbers(batches(items(), batch=4, seed=3), 7)
    parts = [numbers(batches(items(), batch=4, seed=3, part=(process, 2)), 7) for process in (0, 1)]
    assert whole == [left + right for left, right in zip(*parts, strict=True)]


def test_every_epoch_has_every_item_in_another_order():
    sequence = [number for batch in numbers(batches(items(), batch=4, seed=3), 10) for number in batch]
    epochs = [tuple(sequence[first : first + COUNT]) for first in range(0, 40, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({*epochs, tuple(range(COUNT))}) == 5
    assert numbers(batches(items(), batch=4, seed=4), 10) != numbers(batches(items(), batch=4, seed=3), 10)


def test_a_batch_may_be_larger_than_an_epoch():
    (batch,) = numbers(batches(items(), batch=2 * COUNT, seed=0), 1)
    assert sorted(batch) == sorted([*range(COUNT)] * 2)


@pytest.mark.parametrize("threads", [0, 1, 8])
def test_reading_ahead_changes_nothing(threads):
    iterator = batches(items(), batch=4, seed=3, threads=threads)
    assert numbers(iterator, 7) == numbers(batches(items(), batch=4, seed=3), 7)
    assert iterator.get_state() == {"next_index": 7}  # steps done, whatever is read ahead


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 4), (4, 2)])
def test_a_saved_position_goes_on_with_any_number_of_processes(before, after):
    whole = numbers(batches(items(), batch=4, seed=3), 8)
    saved = batches(items(), batch=4, seed=3, part=(0, before))
    numbers(saved, 5)
    state = json.loads(json.dumps(saved.get_state()))
    parts = []
    for process in range(after):
        iterator = batches(items(), batch=4, seed=3, part=(process, after))
        next(iterator)  # what was read is forgotten
        iterator.set_state(state)
        parts.append(numbers(iterator, 3))
    assert np.concatenate(parts, axis=1).tolist() == whole[5:]


def test_items_are_stacked_by_key():
    batch = next(batches(items(), batch=4, seed=3))
    assert batch["number"].shape == (4, 2)
    assert [len(text) for text in batch["prompt"]] == batch["number"][:, 0].tolist()


def test_items_that_differ_are_named():
    with pytest.raises(ValueError, match="same keys"):
        stacked([{"a": np.zeros(1)}, {"b": np.zeros(1)}])
    with pytest.raises(ValueError, match=r"pixels of a batch has one shape and type, got .*\(2,\)"):
        stacked([{"pixels": np.zeros(1)}, {"pixels": np.zeros(2)}])


def test_what_cannot_be_shared_is_refused():
    for asked, message in (
        ({"batch": 3, "part": (0, 2)}, "shared equally by 2 processes, got 3"),
        ({"batch": 0}, "got 0 items"),
        ({"batch": 2, "part": (2, 2)}, "0 <= process < count"),
        ({"batch": 2, "seed": -1}, "seed"),
    ):
        with pytest.raises(ValueError, match=message):
            batches(items(), **{"seed": 0, **asked})
    with pytest.raises(ValueError, match="no items"):
        batches(items()[:0], batch=1, seed=0)
