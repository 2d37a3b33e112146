"""Records that a frozen network makes of items: shards for a later stage, written once, with resume.

Several processes may write one folder without being joined (`part`): each takes shards of its own. Within a process all
its devices work together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from steady_jax.data.records import Contents, Field, Record, ShardWriter, text_array
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.progress import Progress
from steady_jax.shapes import Float, Int

Item = Mapping[str, Any]
Items = Sequence[Item] | grain.MapDataset  # which has a length and numbered items too
Make = Callable[[Int[np.ndarray, "b"], Sequence[Item]], Sequence[Record]]  # numbers and items -> records


def write_all(
    folder: str,
    contents: Contents,
    items: Items,
    make: Make,
    *,
    batch: int,
    part: tuple[int, int],
    progress: Progress,
    interrupt: Interrupt,
) -> bool:
    """Writes the missing shards of a folder; record i is made of item i, counted around where items are fewer.

    Args:
        make: always gets `batch` of them.
        part: number and count of the processes that write.
    Returns: whether the folder is whole; other processes may still be at work.
    Raises:
        ValueError: the folder was begun with other contents.
        KeyboardInterrupt: it was told to end; whole shards stay, and the same run goes on with the others.
    """
    writer = ShardWriter(folder, contents, part)
    missing = writer.missing()
    there = len(range(part[0], contents.shards, part[1])) - len(missing)
    if there:
        progress.say(f"{there} shards are there already")
    for shard in missing:
        numbers = contents.numbers(shard)
        made: list[Record] = []
        for first in range(numbers.start, numbers.stop, batch):
            interrupt.check()
            wanted = np.arange(first, min(first + batch, numbers.stop))
            padded = np.resize(wanted, batch)  # one program for all batches
            made += make(padded, [items[int(number) % len(items)] for number in padded])[: len(wanted)]
            progress.add(len(wanted))
        writer.write(shard, made)
    return writer.finish()


def text_fields(items: Items, width: int | None) -> dict[str, Field]:
    """The fields of a record that tell its prompt: text where items have it, embeddings where they are made."""
    fields = {"prompt": Field("uint8", (None,))} if "prompt" in items[0] else {}
    return fields if width is None else {**fields, "embeddings": Field("float16", (None, width))}


def text_part(item: Item, embeddings: Float[np.ndarray, "t c"] | None) -> dict[str, np.ndarray]:
    """What a record tells of its prompt, for `text_fields`."""
    part = {"prompt": text_array(str(item["prompt"]))} if "prompt" in item else {}
    return part if embeddings is None else {**part, "embeddings": trimmed(embeddings)}


def trimmed(embeddings: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "_ c"]:
    """Embeddings without the zeros behind the prompt, in 16 bits."""
    used = np.flatnonzero(np.any(embeddings != 0, axis=1))
    return embeddings[: used[-1] + 1 if len(used) else 1].astype(np.float16)
