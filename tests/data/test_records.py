import json
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from helpers_data import write_shards

from steady_jax.data.records import (
    BEGINNING_FILE,
    INDEX_FILE,
    TEXT,
    Contents,
    Field,
    Shards,
    ShardWriter,
    from_bytes,
    text_array,
    text_of,
    to_bytes,
)

ROOT = Path(__file__).parents[2]
NUMBER = {"number": Field("int32", (2,))}


def numbered(numbers):
    return [{"number": np.full(2, number, np.int32)} for number in numbers]


def written(folder):
    return [int(record["number"][0]) for record in Shards(folder)]


def test_records_come_back_as_they_were():
    record = {
        "latents": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3).T,  # not contiguous
        "weight": np.float32(0.5),
        "empty": np.zeros((0, 3), np.uint8),
        "mask": np.array([True, False]),
        **{name: np.arange(3).astype(name) for name in ("int8", "int16", "int32", "int64", "float16", "float64")},
        "prompt": text_array("Höhle im Nebel 长江"),
    }
    back = from_bytes(to_bytes(record))
    assert back.keys() == record.keys()
    for key, array in record.items():
        assert back[key].dtype == array.dtype
        assert back[key].shape == array.shape
        np.testing.assert_array_equal(back[key], array)
    assert text_of(back["prompt"]) == "Höhle im Nebel 长江"


def test_two_parts_write_one_folder(tmp_path):
    contents = Contents(NUMBER, records=8, records_per_shard=3, settings={"seed": 1, "sizes": (2, 3)})
    first, second = (ShardWriter(tmp_path, contents, part=(process, 2)) for process in (0, 1))
    assert (first.missing(), second.missing()) == ([0, 2], [1])
    for shard in first.missing():
        first.write(shard, numbered(contents.numbers(shard)))
    assert not first.finish()
    with pytest.raises(ValueError, match=r"not finished \(2 shards are there\)"):
        Shards(tmp_path)
    second.write(1, numbered(contents.numbers(1)))
    assert second.finish()
    assert first.finish()  # again, and by another
    assert written(tmp_path) == list(range(8))
    files = ["index.json", *(f"records-0000{shard}-of-00003.array_record" for shard in range(3))]
    assert sorted(file.name for file in tmp_path.iterdir()) == files
    assert Shards(tmp_path).contents == Contents(NUMBER, 8, 3, {"seed": 1, "sizes": [2, 3]})
    assert ShardWriter(tmp_path, contents).missing() == []  # finished: nothing to do


KILLED = """
import os, signal, sys
import numpy as np
from steady_jax.data.records import Contents, Field, ShardWriter

def records(numbers):
    for number in numbers:
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield {"number": np.full(2, number, np.int32)}

writer = ShardWriter(sys.argv[1], Contents({"number": Field("int32", (2,))}, 8, 3))
for shard in writer.missing():
    writer.write(shard, records(writer.contents.numbers(shard)))
"""


def test_a_killed_run_leaves_whole_shards_and_goes_on(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    whole = tmp_path / "records-00000-of-00003.array_record"
    before = whole.read_bytes(), whole.stat().st_mtime_ns
    writer = ShardWriter(tmp_path, Contents(NUMBER, 8, 3))
    assert writer.missing() == [1, 2]
    for shard in writer.missing():
        writer.write(shard, numbered(writer.contents.numbers(shard)))
    assert writer.finish()
    assert written(tmp_path) == list(range(8))
    assert (whole.read_bytes(), whole.stat().st_mtime_ns) == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_begun_for_something_else_is_refused(tmp_path):
    ShardWriter(tmp_path, Contents(NUMBER, 8, 3, {"seed": 1}))
    for contents, message in (
        (Contents(NUMBER, 9, 3, {"seed": 1}), "records was 8 and is 9"),
        (Contents(NUMBER, 8, 3, {"seed": 2}), "settings.seed was 1 and is 2"),
        (Contents({"number": TEXT}, 8, 3, {"seed": 1}), "fields.number.dtype was 'int32' and is 'uint8'"),
    ):
        with pytest.raises(ValueError, match=f"begun for other records: .*{message}"):
            ShardWriter(tmp_path, contents)
    (tmp_path / BEGINNING_FILE).unlink()
    (tmp_path / "records-00000-of-00001.array_record").touch()
    with pytest.raises(ValueError, match="does not say of what"):
        ShardWriter(tmp_path, Contents(NUMBER, 8, 3))


def test_records_that_do_not_belong_leave_nothing(tmp_path):
    writer = ShardWriter(tmp_path, Contents(NUMBER, 4, 2))
    for records, message in (
        ([{"number": np.zeros(3, np.int32)}], r"number of record 2 is int32 \[3\], but the folder holds int32 \[2\]"),
        ([{"number": np.zeros(2)}], r"is float64 \[2\]"),
        ([{"numbers": np.zeros(2)}], "record 2 holds numbers, but the folder number"),
        (numbered(range(1)), "takes 2 records, got 1"),
        (numbered(range(3)), "takes 2 records, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            writer.write(1, records)
        assert [file.name for file in tmp_path.iterdir()] == [BEGINNING_FILE]
    writer.write(1, numbered((2, 3)))
    with pytest.raises(FileExistsError, match="written once"):
        writer.write(1, numbered((2, 3)))
    assert writer.missing() == [0]


def test_what_is_no_finished_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Shards(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no index\.json"):
        Shards(tmp_path)
    (tmp_path / INDEX_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        Shards(tmp_path)
    (tmp_path / INDEX_FILE).write_text("{}")
    with pytest.raises(ValueError, match="does not describe shards"):
        Shards(tmp_path)


def test_damage_is_named(tmp_path):
    write_shards(tmp_path, numbered(range(6)), NUMBER)
    file = tmp_path / "records-00001-of-00002.array_record"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="holds a damaged shard"):
        Shards(tmp_path)
    file.write_bytes(whole[:70] + bytes([whole[70] ^ 255]) + whole[71:])
    shards = Shards(tmp_path)
    assert shards[2]["number"].tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"records-00001-of-00002\.array_record is damaged at record 3"):
        shards[3]
    file.write_bytes(whole)
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    (tmp_path / INDEX_FILE).write_text(json.dumps({**index, "records": 5}))
    with pytest.raises(ValueError, match=r"hold 6 records, but its index\.json says 5"):
        Shards(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 shards are gone"):
        Shards(tmp_path)
    (tmp_path / INDEX_FILE).write_text(json.dumps({"fields": {}, "records": 6, "records_per_shard": 3, "settings": {}}))
    with pytest.raises(ValueError, match="does not describe shards"):
        Shards(tmp_path)


def test_parts_and_counts_that_cannot_be(tmp_path):
    for part in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="0 <= process < count"):
            ShardWriter(tmp_path, Contents(NUMBER, 1, 1), part)
    for records, per_shard in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least 1 record"):
            Contents(NUMBER, records, per_shard)


def test_neither_jax_nor_grain_is_needed():
    code = "import sys; import steady_jax.data.prepare; print({'jax', 'jaxtyping', 'grain'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
