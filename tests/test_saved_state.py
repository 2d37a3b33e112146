"""States on disk: the newest whole one counts, and nothing that goes wrong takes it away."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers_process import start

from steady_jax import saved_state
from steady_jax.saved_state import differences, latest, save

REPOSITORY = Path(__file__).parent.parent
ARRAYS = {
    "live/memory/k": np.arange(12, dtype=np.float32).reshape(3, 4),
    "live/filled": np.array(7, np.int32),
    "latents": np.linspace(0, 1, 5, dtype=np.float32),
}


def arrays_of(state, prefix=""):
    return {path: np.asarray(array) for path, array in state.read(prefix, jax.devices()[0]).items()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def child(code, folder, *arguments):
    """Runs code that finds `folder` and the other arguments in sys.argv."""
    command = [sys.executable, "-c", f"{PREPARED}\n{code}", str(folder), *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return start(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


PREPARED = """
import os, resource, signal, sys
import numpy as np
from steady_jax import saved_state
folder = sys.argv[1]
"""


def test_a_state_comes_back_with_its_description_and_its_arrays(tmp_path):
    record = {"block": 3, "scenes": [{"prompts": ["长江"], "cut": True}], "total_frames": None}
    assert latest(tmp_path / "states") is None
    path = save(str(tmp_path / "states"), record, iter(ARRAYS.items()))
    state = latest(str(tmp_path / "states"))
    assert state.path == path
    assert state.record == record
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in state.shapes.items()} == {
        name: (array.shape, array.dtype) for name, array in ARRAYS.items()
    }
    read = arrays_of(state)
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    assert set(arrays_of(state, "live/")) == {"memory/k", "filled"}
    assert arrays_of(state, "waiting") == {}


def test_the_newest_state_counts_and_is_the_only_one_left(tmp_path):
    for block in (1, 2, 3):
        save(tmp_path, {"block": block}, [("x", np.full(4, block))])
        assert latest(tmp_path).record == {"block": block}
        np.testing.assert_array_equal(arrays_of(latest(tmp_path))["x"], np.full(4, block))
        assert len(names(tmp_path)) == 1
    (tmp_path / "00000002").rename(tmp_path / "99999999")
    save(tmp_path / "other", {"block": 4}, ARRAYS.items()).rename(tmp_path / "100000000")
    assert latest(tmp_path).record == {"block": 4}  # by number, not by name
    saved_state.remove(tmp_path)
    assert not tmp_path.exists()
    saved_state.remove(tmp_path)


def test_an_older_state_stays_until_the_new_one_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    fsync, synced = os.fsync, []

    def watched(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        assert first.exists()
        fsync(descriptor)

    first = save(tmp_path, {"block": 1}, ARRAYS.items())
    monkeypatch.setattr(os, "fsync", watched)
    second = save(tmp_path, {"block": 2}, watching(ARRAYS.items(), tmp_path))
    assert {path.stat().st_ino for path in (tmp_path, second, *second.rglob("*"))} <= set(synced)
    assert names(tmp_path) == [second.name]


def watching(arrays, folder):
    """The arrays; while they are pulled, what was there before is what counts."""
    for array in arrays:
        assert latest(folder).record == {"block": 1}
        yield array


def test_what_is_left_of_a_save_that_was_torn_is_ignored_and_cleared_away(tmp_path):
    save(tmp_path, {"block": 1}, ARRAYS.items())
    torn = tmp_path / f"00000001{saved_state.DRAFT}"
    (torn / "arrays").mkdir(parents=True)
    (torn / "state.json").write_text('{"format": 1, "block": 2}')
    assert latest(tmp_path).record == {"block": 1}
    save(tmp_path, {"block": 3}, ARRAYS.items())
    assert latest(tmp_path).record == {"block": 3}
    assert names(tmp_path) == ["00000001"]


KILLED = """
def arrays():
    for index in range(100):
        yield f"part/{index}", np.full(2**21, index, np.float32)  # 8 MB each
        if index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
saved_state.save(folder, {"block": 2}, arrays())
"""


def test_a_process_killed_while_it_saves_leaves_the_state_before(tmp_path):
    save(tmp_path, {"block": 1}, ARRAYS.items())
    with child(KILLED, tmp_path) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2  # it was in the middle
    assert latest(tmp_path).record == {"block": 1}
    np.testing.assert_array_equal(arrays_of(latest(tmp_path))["latents"], ARRAYS["latents"])
    save(tmp_path, {"block": 2}, ARRAYS.items())
    assert names(tmp_path) == ["00000001"]


FULL_DISK = """
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))  # Python itself ignores SIGXFSZ
record = {"block": 2, "note": "x" * int(sys.argv[3])}
try:
    saved_state.save(folder, record, [("x", np.random.default_rng(0).random(int(sys.argv[4])))])
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize(("note", "numbers"), [(0, 10_000), (30_000, 10)], ids=["arrays", "description"])
def test_a_full_disk_is_named_and_leaves_the_state_before(tmp_path, note, numbers):
    folder = tmp_path / "states"
    with child(FULL_DISK, folder, 20_000, note, numbers) as process:
        said, _ = process.communicate(timeout=60)
    assert said.startswith(f"the state {folder / '00000000'} could not be written (")
    assert said.endswith("there was none before it\n")
    assert "File too large" in said
    assert latest(folder) is None
    before = save(folder, {"block": 1}, ARRAYS.items())
    with child(FULL_DISK, folder, 20_000, note, numbers) as process:
        said, _ = process.communicate(timeout=60)
    assert said.endswith(f"the state in {before} is still there\n")
    assert names(folder) == [before.name]
    assert latest(folder).record == {"block": 1}
    np.testing.assert_array_equal(arrays_of(latest(folder))["live/memory/k"], ARRAYS["live/memory/k"])


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "states").write_text("")
    assert latest(tmp_path / "states") is None
    with pytest.raises(OSError, match=r"states/00000000 could not be written \(.*File exists"):
        save(tmp_path / "states", {}, ARRAYS.items())
    assert (tmp_path / "states").read_text() == ""


def test_an_error_of_the_caller_leaves_no_half_state(tmp_path):
    def failing():
        yield "x", np.zeros(3)
        raise RuntimeError("device lost")

    with pytest.raises(OSError, match="device lost"):
        save(tmp_path, {}, failing())
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ['{"format": 1, "blo', "[1]", '{"block": 1}', None])
def test_a_damaged_description_is_refused(tmp_path, text):
    path = save(tmp_path, {"block": 1}, ARRAYS.items())
    (path / "state.json").unlink()
    if text is not None:
        (path / "state.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"the state .*/00000000 cannot be read \(.*remove it and start the video anew"
    ):
        latest(tmp_path)


@pytest.mark.parametrize("lost", ["arrays", "arrays/state", "arrays/state/_METADATA", "arrays/state/manifest.ocdbt"])
def test_lost_arrays_are_noticed_before_anything_is_read(tmp_path, lost):
    path = save(tmp_path, {"block": 1}, ARRAYS.items())
    (path / lost).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"the state .*/00000000 cannot be read \("):
        latest(tmp_path)


def test_lost_numbers_are_noticed_when_they_are_read(tmp_path):
    path = save(tmp_path, {"block": 1}, [("x", np.random.default_rng(0).random(5000))])
    largest = max(path.rglob("*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"the state .*/00000000 cannot be read \("):
        latest(tmp_path).read("", jax.devices()[0])


def test_a_state_of_another_version_is_refused(tmp_path):
    path = save(tmp_path, {"block": 1}, ARRAYS.items())
    content = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(ValueError, match="has format 2, this version reads format 1; start the video anew"):
        latest(tmp_path)


def test_differences_name_every_value_by_its_path():
    stored = {
        "weights": "a",
        "memory": {"alpha": 0.9, "deep": {"sink": 3, "old": 1}},
        "steps": [1, 2],
        "same": {"x": 1},
    }
    now = {"weights": "a", "memory": {"alpha": 0.5, "deep": {"sink": 3, "new": 2}}, "steps": [1, 3], "same": {"x": 1}}
    assert differences(stored, now) == [
        "memory.alpha: 0.9 -> 0.5",
        "memory.deep.old: 1 -> None",
        "memory.deep.new: None -> 2",
        "steps: [1, 2] -> [1, 3]",
    ]
    assert differences(stored, stored) == []
    assert differences({"memory": {"alpha": 1}}, {"memory": 3}) == ["memory: {'alpha': 1} -> 3"]
