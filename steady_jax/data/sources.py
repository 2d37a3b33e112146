"""Items to train on, from prompt files, folders of clips, shards, or made as they are asked for.

An item is a dict with some of

    "pixels"      uint8 [f h w 3], pixel frames at 16 per second
    "moving"      bool [h w], true where anything in these frames may move, if the source knows it (nature_flow)
    "prompt"      str; with a tokenizer instead "ids" and "mask", int32 [t]
    "embeddings"  [t c] of the prompt, zeros after its last token
    "latents"     [f h w c], and whatever else the records of a folder of shards hold, as it is

An item depends on the source, on its number and on the epoch (the stretch that is taken of a longer clip), and on
nothing else. Some items may be held out: they are never among the others.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import Float

from steady_jax.data import clips
from steady_jax.data.batches import Item
from steady_jax.data.records import INDEX_FILE, Contents, Shards, text_of
from steady_jax.data.rows import row
from steady_jax.pictures import fitted
from steady_jax.prompt_file import prompts_in
from steady_jax.text import PromptTokenizer

KINDS = ("prompts", "clips", "shards", "nature_flow", "nature_prompts", "descriptions")
MADE = ("nature_flow", "nature_prompts", "descriptions")  # as they are asked for, from nothing but their numbers
ENDLESS = 2**31 - 1  # items of a source that makes them

ItemOf = Callable[[Any, np.random.Generator], Item]  # an item of an entry, and where chance comes from


@dataclasses.dataclass(frozen=True)
class Source:
    """Where items come from and what they look like."""

    kind: str  # one of KINDS
    path: str | None = None  # a file of prompts, a folder of clips, or a folder of shards
    frames: int | None = None  # pixel frames of an item; with height and width, or as the shards hold it
    height: int | None = None  # pixels
    width: int | None = None  # pixels
    text_length: int | None = None  # tokens that embeddings are filled up to
    held_out: int = 0  # items kept from training: the last ones, or others of the same kind where they are made
    seed: int = 0  # of the stretches that are taken of clips, and of the items that are made

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a source is one of {', '.join(KINDS)}, got {self.kind!r}")
        if (self.path is None) != (self.kind in MADE):
            raise ValueError(
                f"every source but {', '.join(MADE)} has a path, got {self.kind} with path {self.path!r}; "
                "change one of the two"
            )
        sizes = (self.frames, self.height, self.width)
        if self.kind in ("clips", "nature_flow") and None in sizes:
            raise ValueError(f"items of {self.kind} need frames, height and width, got {sizes}")
        if self.kind in ("prompts", "nature_prompts", "descriptions") and sizes != (None, None, None):
            raise ValueError(f"prompts have no frames, height and width, got {sizes}; leave them out")
        if self.kind != "shards" and self.text_length is not None:
            raise ValueError(f"text_length is for embeddings, which only shards hold; leave it out for {self.kind}")
        if any(size is not None for size in sizes) and None in sizes:
            raise ValueError(f"frames, height and width are given together or not at all, got {sizes}")
        if any(size is not None and size < 1 for size in (*sizes, self.text_length)):
            raise ValueError(f"frames, height, width and text_length are at least 1, got {(*sizes, self.text_length)}")
        if self.held_out < 0 or self.seed < 0:
            raise ValueError(f"held_out and seed are at least 0, got {self.held_out} and {self.seed}")


def open_items(source: Source, *, held_out: bool = False, tokenizer: PromptTokenizer | None = None) -> grain.MapDataset:
    """Opens a source, for `batches`.

    Args:
        held_out: the items that are kept from training, instead of the others.
        tokenizer: makes "ids" and "mask" of "prompt".

    Raises:
        FileNotFoundError: there is no such file or folder, or nothing in it.
        ValueError: a file cannot be used (it is named), fewer items than are held out, or a tokenizer for items without
            prompts.
    """
    if held_out and not source.held_out:
        raise ValueError("no items are held out; set held_out of the source to how many there should be")
    return open_both(source, tokenizer)[held_out]


def open_both(
    source: Source, tokenizer: PromptTokenizer | None = None
) -> tuple[grain.MapDataset, grain.MapDataset | None]:
    """The items to train on, and those that are held out, if any: what is read is read once. See `open_items`."""
    if source.kind in MADE:
        return tuple(_items(source, tokenizer, *_made(source, held_out)) for held_out in (False, True))
    entries, item_of, has_prompts = _read(source)
    if tokenizer is not None and not has_prompts:
        raise ValueError(f"a tokenizer is for prompts, and the items of {source.path} have none")
    kept = len(entries) - source.held_out
    if kept < 1:
        raise ValueError(f"{source.path} has {len(entries)} items: {source.held_out} cannot be held out, leave some")
    items = _items(source, tokenizer, entries, item_of)
    return items[:kept], items[kept:] if source.held_out else None


def fingerprint_of_data(kind: str, path: str) -> str:
    """Tells a file of prompts, shards or a folder of clips from others, wherever they lie.

    Of shards by their description, of clips by their names and sizes: fast, but a change of content alone goes unseen.
    """
    if kind == "prompts":
        told = _content(Path(path))
    elif kind == "shards":
        told = (Path(path) / INDEX_FILE).read_bytes()
    else:
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        told = "\n".join(f"{file.relative_to(path)} {file.stat().st_size}" for file in files).encode()
    return f"sha256 {hashlib.sha256(told).hexdigest()}"


def _items(
    source: Source, tokenizer: PromptTokenizer | None, entries: Sequence[Any] | Shards, item_of: ItemOf
) -> grain.MapDataset:
    def item(number: int, entry: Any) -> Item:
        found = item_of(entry, np.random.default_rng((source.seed, number)))
        return found if tokenizer is None else _tokenized(found, tokenizer)

    return grain.MapDataset.source(entries).map_with_index(item)


def _made(source: Source, held_out: bool) -> tuple[Sequence[Any], ItemOf]:
    """The numbers of items that are made, and what makes them."""
    made = {"nature_flow": _nature_item, "nature_prompts": _nature_prompt, "descriptions": _description}[source.kind]
    return range(source.held_out if held_out else ENDLESS), lambda index, _: made(source, held_out, index)


def _read(source: Source) -> tuple[Sequence[Any] | Shards, ItemOf, bool]:
    """The entries of a source, what makes an item of an entry, and whether items have a prompt."""
    if source.kind == "prompts":
        return prompts_in(_content(Path(source.path)), source.path), lambda prompt, _: {"prompt": prompt}, True
    if source.kind == "clips":
        found = clips.read_folder(source.path, source.frames)
        return found, lambda entry, rng: _clip_item(source, entry, rng), found[0].prompt is not None
    shards = Shards(source.path)
    check_shards(source, shards.contents)
    return shards, lambda record, rng: _shard_item(source, record, rng), "prompt" in shards.contents.fields


def check_shards(source: Source, contents: Contents) -> None:
    """Raises ValueError if records cannot make items of one shape as the source asks for them."""
    pixels, embeddings = contents.fields.get("pixels"), contents.fields.get("embeddings")
    if source.frames is not None and pixels is None:
        raise ValueError(f"frames, height and width are for pixels, and {source.path} has none; leave them out")
    if source.frames is None and pixels is not None and None in pixels.shape:
        raise ValueError(f"clips in {source.path} differ in size ({pixels}); set frames, height and width")
    if source.frames is not None and pixels.shape[0] is not None and pixels.shape[0] < source.frames:
        raise ValueError(
            f"clips in {source.path} have {pixels.shape[0]} frames, got frames {source.frames}; ask for less"
        )
    if embeddings is not None and source.text_length is None and embeddings.shape[0] is None:
        raise ValueError(f"embeddings in {source.path} differ in length ({embeddings}); set text_length")
    if source.text_length is not None and embeddings is None:
        raise ValueError(f"text_length is for embeddings, and {source.path} has none; leave it out")


def filled_up(embeddings: Float[np.ndarray, "t c"], length: int) -> Float[np.ndarray, "length c"]:
    """Embeddings [t c] with zeros after the last token: [length c].

    Raises:
        ValueError: there are more tokens.
    """
    tokens, width = embeddings.shape
    if tokens > length:
        raise ValueError(f"embeddings are at most text_length = {length} tokens long, got {tokens}; raise text_length")
    return np.concatenate([embeddings, np.zeros((length - tokens, width), embeddings.dtype)])


def _clip_item(source: Source, entry: clips.CaptionedClip, rng: np.random.Generator) -> Item:
    first = _first_frame(entry.clip.frames, source.frames, rng)
    item = {"pixels": clips.stretch(entry.clip, first, source.frames, source.height, source.width)}
    return item if entry.prompt is None else {**item, "prompt": entry.prompt}


def _shard_item(source: Source, record: dict[str, np.ndarray], rng: np.random.Generator) -> Item:
    item = dict(record)
    if source.frames is not None:
        pixels = record["pixels"]
        if len(pixels) < source.frames:
            raise ValueError(
                f"a clip in {source.path} has {len(pixels)} frames, got frames {source.frames}; ask for less"
            )
        first = _first_frame(len(pixels), source.frames, rng)
        item["pixels"] = fitted(pixels[first : first + source.frames], source.height, source.width)
    if source.text_length is not None:
        item["embeddings"] = filled_up(record["embeddings"], source.text_length)
    if "prompt" in record:
        item["prompt"] = text_of(record["prompt"])
    return item


def _nature_item(source: Source, held_out: bool, index: int) -> Item:
    # imported here: only tiny models train on it
    from steady_jax.data import nature_flow

    size = {"frames": source.frames, "height": source.height, "width": source.width}
    made = nature_flow.clip(row(source.seed, held_out), index, **size)
    return {"pixels": made.pixels, "moving": made.mask, "prompt": made.prompt}


def _nature_prompt(source: Source, held_out: bool, index: int) -> Item:
    from steady_jax.data import nature_flow  # as above

    return {"prompt": nature_flow.prompt(row(source.seed, held_out), index)}


def _description(source: Source, held_out: bool, index: int) -> Item:
    # imported here: only large models train on it
    from steady_jax.data import descriptions

    return {"prompt": descriptions.description(row(source.seed, held_out), index)}


def _first_frame(there: int, taken: int, rng: np.random.Generator) -> int:
    return int(rng.integers(there - taken + 1))


def _tokenized(item: Item, tokenizer: PromptTokenizer) -> Item:
    ids, mask = tokenizer.encode([item["prompt"]])
    return {**{key: value for key, value in item.items() if key != "prompt"}, "ids": ids[0], "mask": mask[0]}


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; name a file of prompts, one per line")
    return file.read_bytes()
