"""Shards of prompts and clips, made of files that may lie anywhere.

How files are reached is an argument, so this is also used where TensorFlow's file systems are and JAX is not. All that
is to be written is known before the first clip is read: its number says in which shard it goes (see records.py).
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from steady_jax.data.clips import captions_of, check_captions, check_length, stretch
from steady_jax.data.records import TEXT, Contents, Field, Record, ShardWriter, text_array
from steady_jax.pictures import Clip, read_clip
from steady_jax.prompt_file import prompts_in

Say = Callable[[str], None]


@runtime_checkable
class Files(Protocol):
    """A way to reach files. Every function raises OSError where it fails, FileNotFoundError where there is no file."""

    def read(self, name: str) -> bytes:
        """The content of a file."""
        ...

    def copy(self, name: str, to: Path) -> None:
        """Copies a file to a local one, which is written anew."""
        ...

    def names_in(self, folder: str) -> Iterable[str]:
        """The names of the files in a folder, without the folder's."""
        ...


@dataclasses.dataclass(frozen=True)
class Entry:
    """A clip to read, and its caption; None where no clip has one."""

    name: str
    prompt: str | None


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is taken of each clip: pieces that begin at even distances, the first at its beginning, the last at its end.

    Pieces of a clip that is shorter than all of them together overlap.
    """

    frames: int  # pixel frames of a piece, at 16 per second
    height: int  # pixels
    width: int  # pixels
    pieces: int = 1

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)) < 1:
            raise ValueError(f"frames, height, width and pieces are at least 1, got {dataclasses.astuple(self)}")

    def first_frame(self, piece: int, there: int) -> int:
        """The frame that a piece begins with, of a clip that has so many."""
        return 0 if self.pieces == 1 else round(piece * (there - self.frames) / (self.pieces - 1))


def clips_in(folder: str, files: Files) -> list[Entry]:
    """The clips of a folder, by name, with captions as `steady_jax.data.clips` describes them.

    Raises:
        OSError: the folder cannot be listed or a file not be read; FileNotFoundError also if there is no clip.
        ValueError: captions are missing or cannot be read.
    """
    folder = folder.rstrip("/")
    captions = captions_of(files.names_in(folder), lambda name: files.read(f"{folder}/{name}"), folder)
    return [Entry(f"{folder}/{name}", prompt) for name, prompt in captions.items()]


def clips_listed(manifest: str, files: Files) -> list[Entry]:
    """The clips that a manifest names: one per line, with a tab and a caption behind it or without.

    A name without a scheme that does not begin with / is looked for beside the manifest.

    Raises:
        OSError: the manifest cannot be read.
        ValueError: it is not UTF-8, names no clip or one twice, or only some have captions.
    """
    rows = [line.partition("\t") for line in prompts_in(files.read(manifest), manifest)]
    beside = manifest.rpartition("/")
    entries = []
    for name, _, caption in rows:
        absolute = "://" in name or name.startswith("/")
        name = name.strip() if absolute else f"{beside[0]}{beside[1]}{name.strip()}"
        entries.append(Entry(name, caption.strip() or None))
    check_captions([(entry.name, entry.prompt) for entry in entries], manifest)
    if len({entry.name for entry in entries}) < len(entries):
        twice = next(one.name for one in entries if sum(one.name == other.name for other in entries) > 1)
        raise ValueError(f"{manifest} names {twice} twice; take one out")
    return entries


def write_prompts(
    prompts: Sequence[str], folder: str | Path, records_per_shard: int, part: tuple[int, int] = (0, 1), say: Say = print
) -> bool:
    """Writes shards of {"prompt"}, or goes on writing them. Returns whether all parts are there.

    Raises:
        ValueError: there are no prompts, or the folder was begun with others.
        OSError: the folder cannot be written.
    """
    settings = {"prompts": _digest(prompts)}
    writer = ShardWriter(folder, Contents({"prompt": TEXT}, len(prompts), records_per_shard, settings), part)
    for shard in writer.missing():
        writer.write(shard, ({"prompt": text_array(prompts[number])} for number in writer.contents.numbers(shard)))
    return _finish(writer, say)


def write_clips(
    entries: Sequence[Entry],
    files: Files,
    cut: Cut,
    folder: str | Path,
    records_per_shard: int,
    part: tuple[int, int] = (0, 1),
    say: Say = print,
) -> bool:
    """Writes shards of {"pixels"}, with {"prompt"} where there are captions, or goes on writing them.

    Shards with a clip that cannot be used are left out, and all others are written before the error.

    Returns:
        Whether all parts are there.

    Raises:
        ValueError: clips that cannot be used, each with the reason; or the folder was begun with other clips.
        OSError: a file cannot be reached, or the folder not be written.
    """
    fields = {"pixels": Field("uint8", (cut.frames, cut.height, cut.width, 3))}
    if entries[0].prompt is not None:
        fields["prompt"] = TEXT
    settings = {"clips": _digest([dataclasses.astuple(entry) for entry in entries]), "pieces": cut.pieces}
    writer = ShardWriter(folder, Contents(fields, len(entries) * cut.pieces, records_per_shard, settings), part)
    missing, problems = writer.missing(), []
    for done, shard in enumerate(missing, 1):
        with contextlib.suppress(_UnusableError):
            writer.write(shard, _pieces_of(writer.contents.numbers(shard), entries, files, cut, problems))
            say(f"wrote {writer.contents.file(shard)} ({done} of {len(missing)})")
    if problems:
        unusable = dict.fromkeys(problems)  # a clip may have pieces in two shards
        raise ValueError(
            f"{len(unusable)} clips cannot be used, so their shards are missing; put sound files in their place and "
            "run the same again, or take them out and begin another folder:\n" + "\n".join(unusable)
        )
    return _finish(writer, say)


class _UnusableError(Exception):
    """A shard has clips that cannot be used."""


def _pieces_of(
    numbers: range, entries: Sequence[Entry], files: Files, cut: Cut, problems: list[str]
) -> Iterator[Record]:
    """The records of a shard. What is wrong with its clips is added to `problems`, after the last of them an error."""
    before = len(problems)
    for index, of_clip in itertools.groupby(numbers, lambda number: number // cut.pieces):
        entry = entries[index]
        try:
            with _opened(entry, files, cut) as clip:
                for number in of_clip:
                    first = cut.first_frame(number % cut.pieces, clip.frames)
                    record = {"pixels": stretch(clip, first, cut.frames, cut.height, cut.width)}
                    yield record if entry.prompt is None else {**record, "prompt": text_array(entry.prompt)}
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
    if len(problems) > before:
        raise _UnusableError


@contextlib.contextmanager
def _opened(entry: Entry, files: Files, cut: Cut) -> Iterator[Clip]:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / f"clip{Path(entry.name).suffix}"
        files.copy(entry.name, local)
        try:
            clip = read_clip(local)
            check_length(clip, cut.frames)
        except ValueError as error:
            raise ValueError(str(error).replace(str(local), entry.name)) from error
        yield clip


def _finish(writer: ShardWriter, say: Say) -> bool:
    finished = writer.finish()
    contents = writer.contents
    if finished:
        say(f"{writer.folder} holds {contents.records} records in {contents.shards} shards")
    else:
        say(f"this part of {writer.folder} is done; other parts are missing")
    return finished


def _digest(content: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
