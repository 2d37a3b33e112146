"""Records, dicts of numpy arrays, in a folder of ArrayRecord files ("shards") that are there whole or not at all.

    folder/records-00000-of-00002.array_record
    folder/records-00001-of-00002.array_record
    folder/index.json                            written last: what the shards hold

What a folder will hold is said before the first record is made, so record i has its place, whoever writes it and
whenever: shard i // records_per_shard. An interrupted run leaves whole shards, and beginning.json in place of
index.json; the same run goes on with the shards that are missing, with any number of processes.

A record in a shard is the bytes of a safetensors file; text is a uint8 array of its UTF-8.
This file is also used where neither JAX nor grain is installed (see docs/data.md).
"""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

INDEX_FILE, BEGINNING_FILE = "index.json", "beginning.json"
ONE_BY_ONE = "group_size:1,zstd:3"  # records are read one by one, in any order
NUMPY_TYPES = {  # of the types of safetensors
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}

Record = Mapping[str, np.ndarray | np.generic]  # a number is an array without axes


@dataclasses.dataclass(frozen=True)
class Field:
    """What a record holds under one key."""

    dtype: str  # as numpy and ml_dtypes say it: "uint8", "bfloat16"
    shape: tuple[int | None, ...]  # None where records differ

    def holds(self, array: np.ndarray | np.generic) -> bool:
        """Whether an array is of this kind."""
        sizes = zip(self.shape, array.shape, strict=False)
        same = len(self.shape) == array.ndim and all(ours in (None, size) for ours, size in sizes)
        return same and self.dtype == str(array.dtype)

    def __str__(self) -> str:
        return f"{self.dtype} [{' '.join('?' if size is None else str(size) for size in self.shape)}]"


TEXT = Field("uint8", (None,))


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a folder of shards holds, or will hold when it is finished."""

    fields: Mapping[str, Field]
    records: int  # of all shards together
    records_per_shard: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what made them, for JSON

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("records hold at least one array, got no fields")
        if self.records < 1 or self.records_per_shard < 1:
            raise ValueError(
                "a folder of shards holds at least 1 record, and at least 1 per shard, "
                f"got {self.records} and {self.records_per_shard}"
            )

    @property
    def shards(self) -> int:
        return math.ceil(self.records / self.records_per_shard)

    def numbers(self, shard: int) -> range:
        """The numbers of the records of a shard."""
        first = shard * self.records_per_shard
        return range(first, min(first + self.records_per_shard, self.records))

    def file(self, shard: int) -> str:
        """The name of a shard's file."""
        return f"records-{shard:05d}-of-{self.shards:05d}.array_record"


class ShardWriter:
    """Writes the shards of one part of a folder, those with shard % count == process, where they are missing.

    writer = ShardWriter(folder, Contents(fields, records, records_per_shard, settings), part=(process, count))
    for shard in writer.missing():
        writer.write(shard, (record_of(number) for number in writer.contents.numbers(shard)))
    writer.finish()
    """

    def __init__(self, folder: str | Path, contents: Contents, part: tuple[int, int] = (0, 1)) -> None:
        """Begins a folder, or goes on with one that was begun.

        Raises:
            ValueError: the part is none of those there are, the folder was begun or finished with other contents, or
                it holds shards of unknown contents.
            OSError: the folder cannot be made.
        """
        check_part(part)
        self.folder, self.contents, self._part = Path(folder), contents, part
        self.folder.mkdir(parents=True, exist_ok=True)
        ours, before = _to_json(contents), _described(self.folder)
        if before is None:
            if strangers := sorted(self.folder.glob("records-*")):
                raise ValueError(f"{folder} holds {strangers[0].name} but does not say of what; choose another folder")
            _write_whole(self.folder / BEGINNING_FILE, json.dumps(ours, indent=1).encode())
        elif differing := _differences(before, ours):
            raise ValueError(
                f"{folder} was begun for other records: {'; '.join(differing)}; "
                "go on as before, or choose another folder"
            )

    def missing(self) -> list[int]:
        """The shards of this part that are not there yet."""
        process, count = self._part
        mine = range(process, self.contents.shards, count)
        return [shard for shard in mine if not (self.folder / self.contents.file(shard)).exists()]

    def write(self, shard: int, records: Iterable[Record]) -> None:
        """Writes one shard; its file appears when all its records are written and on the disk.

        Raises:
            ValueError: a record is not what the contents say, or there are too many or too few; then nothing is left.
            FileExistsError: the shard is there.
        """
        path = self.folder / self.contents.file(shard)
        if path.exists():
            raise FileExistsError(f"{path} is there already, and a shard is written once")
        numbers = self.contents.numbers(shard)
        draft = path.with_suffix(".partial")
        writer, written = ArrayRecordWriter(str(draft), ONE_BY_ONE), 0
        try:
            for written, record in enumerate(records, 1):
                check_record(record, self.contents.fields, f"record {numbers.start + written - 1}")
                writer.write(to_bytes(record))
        except BaseException:
            writer.close()
            draft.unlink()
            raise
        writer.close()
        if written != len(numbers):
            draft.unlink()
            raise ValueError(f"{path} takes {len(numbers)} records, got {written}")
        _onto_the_disk(draft)
        os.replace(draft, path)

    def finish(self) -> bool:
        """Writes the index if all shards, of all parts, are there. Returns whether they are."""
        every = (self.folder / self.contents.file(shard) for shard in range(self.contents.shards))
        if not all(path.exists() for path in every):
            return False
        if not (self.folder / INDEX_FILE).exists():
            _write_whole(self.folder / INDEX_FILE, (json.dumps(_to_json(self.contents), indent=1)).encode())
        (self.folder / BEGINNING_FILE).unlink(missing_ok=True)
        return True


class Shards:
    """The records of a finished folder: a sequence, in the order of their numbers. Threads may share it."""

    def __init__(self, folder: str | Path) -> None:
        """Opens a folder.

        Raises:
            FileNotFoundError: there is no such folder, it holds no shards, or some are missing.
            ValueError: it is not finished, or its files do not hold what its index says.
        """
        self.folder = Path(folder)
        self.contents = read_contents(self.folder)
        files = [str(self.folder / self.contents.file(shard)) for shard in range(self.contents.shards)]
        if gone := [file for file in files if not Path(file).exists()]:
            raise FileNotFoundError(
                f"{len(gone)} of {len(files)} shards are gone, the first is {gone[0]}; copy them again"
            )
        try:
            self._source = ArrayRecordDataSource(files)
        except Exception as error:  # array_record raises bare RuntimeErrors, which name the file
            raise ValueError(f"{folder} holds a damaged shard: {error}; copy or write it again") from error
        if len(self._source) != self.contents.records:
            raise ValueError(
                f"the shards of {folder} hold {len(self._source)} records, but its {INDEX_FILE} says "
                f"{self.contents.records}; copy or write them again"
            )

    def __len__(self) -> int:
        return self.contents.records

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.folder} has records 0..{len(self) - 1}, got {number}")
        try:
            return from_bytes(self._source[number])
        except RuntimeError as error:  # which does not name the file
            file = self.folder / self.contents.file(number // self.contents.records_per_shard)
            raise ValueError(f"{file} is damaged at record {number}: {error}; copy or write it again") from error


def read_contents(folder: str | Path) -> Contents:
    """What a finished folder holds.

    Raises:
        FileNotFoundError: there is no such folder, or no shards in it.
        ValueError: it is not finished, or its index is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; name a folder of shards")
    described = _described(folder)
    if described is None:
        raise FileNotFoundError(f"{folder} holds no {INDEX_FILE}, so it is no folder of shards")
    if not (folder / INDEX_FILE).exists():
        there = len(list(folder.glob("records-*.array_record")))
        raise ValueError(
            f"{folder} is not finished ({there} shards are there); run the command that began it again, it goes on"
        )
    try:
        return _from_json(described)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / INDEX_FILE} does not describe shards ({error!r}); write the folder again"
        ) from error


def to_bytes(record: Record) -> bytes:
    """A record as the bytes of a safetensors file."""
    return safetensors.numpy.save({key: np.asarray(array, order="C") for key, array in record.items()})


def from_bytes(content: bytes) -> dict[str, np.ndarray]:
    """The record that `to_bytes` made bytes of."""
    arrays = {}
    for key, stored in safetensors.deserialize(content):  # safetensors.numpy.load knows no bfloat16
        arrays[key] = np.frombuffer(stored["data"], NUMPY_TYPES[stored["dtype"]]).reshape(stored["shape"])
    return arrays


def text_array(text: str) -> np.ndarray:
    """Text as an array [bytes of UTF-8] uint8."""
    return np.frombuffer(text.encode(), np.uint8)


def text_of(array: np.ndarray) -> str:
    """The text that `text_array` made an array of."""
    return array.tobytes().decode()


def check_record(record: Record, fields: Mapping[str, Field], name: str) -> None:
    """Raises ValueError if a record does not hold exactly what the fields say."""
    if record.keys() != fields.keys():
        raise ValueError(f"{name} holds {', '.join(sorted(record))}, but the folder {', '.join(sorted(fields))}")
    for key, field in fields.items():
        if not field.holds(record[key]):
            found = Field(str(record[key].dtype), record[key].shape)
            raise ValueError(f"{key} of {name} is {found}, but the folder holds {field}")


def check_part(part: tuple[int, int]) -> None:
    """Raises ValueError unless part is (process, count) with 0 <= process < count."""
    process, count = part
    if not 0 <= process < count:
        raise ValueError(f"a part is (process, count) with 0 <= process < count, got {part}")


def _to_json(contents: Contents) -> dict[str, Any]:
    content = dataclasses.asdict(contents)
    content["fields"] = {key: dataclasses.asdict(field) for key, field in contents.fields.items()}
    return json.loads(json.dumps(content))  # tuples become lists, as they are in the file


def _from_json(content: Mapping[str, Any]) -> Contents:
    fields = {key: Field(field["dtype"], tuple(field["shape"])) for key, field in content["fields"].items()}
    return Contents(fields, content["records"], content["records_per_shard"], content["settings"])


def _described(folder: Path) -> dict[str, Any] | None:
    """The content of the index, of the beginning where there is none, or None."""
    for name in (INDEX_FILE, BEGINNING_FILE):
        try:
            return json.loads((folder / name).read_text())
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise ValueError(f"{folder / name} is damaged ({error}); write the folder again") from error
    return None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, key by key; settings and fields one level down."""
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{key}.{text}" for text in _differences(old, new)]
        elif old != new:
            found.append(f"{key} was {old!r} and is {new!r}")
    return found


def _write_whole(path: Path, content: bytes) -> None:
    # a name of its own: several processes may write the same content at once
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    _onto_the_disk(Path(draft))
    os.chmod(draft, 0o644)  # mkstemp lets nobody else read
    os.replace(draft, path)


def _onto_the_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())  # or the new name may outlive a power cut without its content
