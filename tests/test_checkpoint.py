import dataclasses
import json
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from steady_jax import checkpoint, orbax_item, parameters


@dataclasses.dataclass(frozen=True)
class NetConfig:
    width: int = 4
    layers: int = 3
    scales: tuple[float, ...] = (0.5, 2.0)
    dtype: str = "float32"


class Net(nnx.Module):
    """A stand-in with a stack, a nested name and a scalar."""

    def __init__(self, config, *, rngs):
        self.blocks = nnx.Linear(config.width, 2 * config.width, rngs=rngs)
        self.stack = nnx.Param(jnp.zeros((config.layers, config.width)))
        self.scale = nnx.Param(jnp.zeros(()))


CONFIG = NetConfig()


def arrays_for(config=CONFIG, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    shapes = parameters.named(parameters.abstract(Net, config))
    return {path: rng.standard_normal(leaf.shape).astype(dtype) for path, leaf in shapes.items()}


def write(folder, tokenizer=None, **components):
    with checkpoint.new_folder(folder) as draft:
        parts = [
            checkpoint.save_component(draft, name, CONFIG, arrays.items(), "here")
            for name, arrays in components.items()
        ]
        if tokenizer is not None:
            parts.append(checkpoint.save_tokenizer(draft, tokenizer, "there"))
        checkpoint.save_description(draft, parts)
    return folder


def assert_same_bits(module, arrays):
    loaded = parameters.named(module)
    assert set(loaded) == set(arrays)
    for path, array in arrays.items():
        assert (loaded[path].dtype, loaded[path].shape) == (array.dtype, array.shape)
        assert np.asarray(loaded[path]).tobytes() == array.tobytes()


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "spiece.model").write_bytes(b"\x00\x01words")
    (tmp_path / "words" / "tokenizer.json").write_text("{}")
    return tmp_path / "words"


@pytest.fixture
def whole(tmp_path, tokenizer):
    return write(tmp_path / "whole", tokenizer, dit=arrays_for(), vae=arrays_for(), text_encoder=arrays_for())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("group", [0, 100, orbax_item.GROUP_BYTES])
def test_parameters_come_back_to_the_bit(tmp_path, monkeypatch, dtype, group):
    monkeypatch.setattr(orbax_item, "GROUP_BYTES", group)  # bytes: each alone, a few at a time, all at once
    arrays = arrays_for(dtype=dtype)
    folder = write(tmp_path / "made", dit=arrays)
    assert_same_bits(checkpoint.load_component(folder, "dit", Net, CONFIG), arrays)


def test_several_chunks_make_one_parameter(tmp_path, monkeypatch):
    monkeypatch.setattr(orbax_item, "CHUNK_BYTES", 32)
    arrays = arrays_for()
    folder = write(tmp_path / "made", dit=arrays)
    assert_same_bits(checkpoint.load_component(folder, "dit", Net, CONFIG), arrays)


def test_parameters_are_cast_while_they_are_read(tmp_path):
    arrays = arrays_for()
    folder = write(tmp_path / "made", dit=arrays)
    module = checkpoint.load_component(folder, "dit", Net, CONFIG, dtype=jnp.bfloat16)
    assert_same_bits(module, {path: array.astype(ml_dtypes.bfloat16) for path, array in arrays.items()})


def test_parameters_of_several_types_keep_theirs(tmp_path):
    arrays = arrays_for()
    arrays["stack"] = arrays["stack"].astype(ml_dtypes.bfloat16)
    folder = write(tmp_path / "made", dit=arrays)
    assert_same_bits(checkpoint.load_component(folder, "dit", Net, CONFIG), arrays)
    assert checkpoint.describe(folder, ["dit"]).parts["dit"].dtypes == ("bfloat16", "float32")


def test_a_model_that_comes_with_the_package_is_known_by_its_name(whole, monkeypatch, tmp_path):
    shipped = write(tmp_path / "weights" / "small", dit=arrays_for(seed=1))
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "weights")
    assert checkpoint.folder_of("small") == checkpoint.describe("small", ["dit"]).folder == shipped
    assert checkpoint.fingerprint("small") == checkpoint.fingerprint(shipped)
    assert_same_bits(checkpoint.load_component("small", "dit", Net, CONFIG), arrays_for(seed=1))
    assert set(checkpoint.StoredArrays("small", "dit")) == set(arrays_for())
    monkeypatch.chdir(whole.parent)
    assert checkpoint.folder_of("whole") == Path("whole")
    whole.rename(whole.with_name("small"))  # a folder of the same name
    assert checkpoint.folder_of("./small") == checkpoint.folder_of(whole.with_name("small")).relative_to(tmp_path)


def test_how_a_student_was_trained_is_kept(tmp_path):
    with checkpoint.new_folder(tmp_path / "made") as draft:
        part = checkpoint.save_component(draft, "dit", CONFIG, arrays_for().items())
        checkpoint.save_description(draft, [part], {"policy": "steady", "memory": {"window": 9}, "steps": (1000, 500)})
    found = checkpoint.describe(tmp_path / "made", ["dit"]).sampling
    assert found == {"policy": "steady", "memory": {"window": 9}, "steps": (1000, 500)}


def test_stored_arrays_are_read_one_by_one(whole):
    stored = checkpoint.StoredArrays(whole, "dit")
    arrays = arrays_for()
    assert set(stored) == set(arrays)
    assert len(stored) == len(arrays)
    for path in arrays:
        assert stored.shapes[path].shape == arrays[path].shape
        np.testing.assert_array_equal(stored[path], arrays[path])


RESTORE_ON_FOUR = """
import sys, jax
from jax.sharding import NamedSharding, PartitionSpec
from steady_jax import checkpoint, parameters
from test_checkpoint import CONFIG, Net, arrays_for
mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
def cut(path, leaf):
    last = leaf.shape and leaf.shape[-1] % 4 == 0
    return NamedSharding(mesh, PartitionSpec(*[None] * (len(leaf.shape) - 1), "x") if last else PartitionSpec())
module = checkpoint.load_component(sys.argv[1], "dit", Net, CONFIG, sharding=cut)
for path, array in parameters.named(module).items():
    assert array.sharding == cut(path, array), path
    assert len(array.sharding.device_set) == 4
    assert (jax.device_get(array) == arrays_for()[path]).all(), path
print("restored", parameters.named(module)["stack"].addressable_shards[0].data.shape)
"""


def test_parameters_are_restored_into_a_sharding(whole):
    root = os.path.dirname(os.path.dirname(checkpoint.__file__))
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([root, os.path.dirname(__file__)]),
    }
    command = [sys.executable, "-c", RESTORE_ON_FOUR, str(whole)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "restored (3, 1)" in done.stdout


def test_an_array_is_let_go_before_the_next_is_pulled(tmp_path, monkeypatch):
    monkeypatch.setattr(orbax_item, "GROUP_BYTES", 0)
    made = []

    def arrays():
        for path, array in arrays_for().items():
            assert all(reference() is None for reference in made), "an earlier array is still alive"
            copy = array.copy()
            made.append(weakref.ref(copy))
            yield path, copy
            del copy

    with checkpoint.new_folder(tmp_path / "made") as draft:
        checkpoint.save_component(draft, "dit", CONFIG, arrays())
    assert len(made) == len(arrays_for())


def test_description(whole, tokenizer):
    found = checkpoint.describe(whole)
    dit = found.parts["dit"]
    assert set(found.parts) == {"dit", "vae", "text_encoder", "tokenizer"}
    assert dit.sizes == {"width": 4, "layers": 3, "scales": (0.5, 2.0)}  # and no dtype: that is how it computes
    assert dit.config(NetConfig, dtype="bfloat16") == NetConfig(dtype="bfloat16")
    assert (dit.source, dit.dtypes, dit.parameters) == ("here", ("float32",), 4 * 8 + 8 + 3 * 4 + 1)
    assert found.tokenizer == whole / "tokenizer"
    for file in tokenizer.iterdir():
        assert (found.tokenizer / file.name).read_bytes() == file.read_bytes()


def test_a_checkpoint_survives_being_moved(whole, tmp_path):
    moved = shutil.move(whole, tmp_path / "elsewhere")
    checkpoint.describe(moved)
    assert_same_bits(checkpoint.load_component(moved, "vae", Net, CONFIG), arrays_for())


def test_parts_that_are_missing_are_all_named(tmp_path, whole):
    shutil.rmtree(whole / "vae")
    shutil.rmtree(whole / "tokenizer")
    with pytest.raises(ValueError, match="incomplete") as raised:
        checkpoint.describe(whole)
    message = str(raised.value)
    assert "vae: none of its" in message
    assert "tokenizer: none of its 2 files" in message
    assert "dit" not in message.split("convert again")[0]
    assert "scripts/convert.py --source" in message
    only = write(tmp_path / "only", dit=arrays_for())
    with pytest.raises(
        ValueError, match=r"vae: not in this checkpoint\n  text_encoder: not in this.*\n  tokenizer: not"
    ):
        checkpoint.describe(only)
    assert set(checkpoint.describe(only, parts=["dit"]).parts) == {"dit"}


def test_only_the_parts_that_are_asked_for_are_checked(whole):
    shutil.rmtree(whole / "text_encoder")
    assert set(checkpoint.describe(whole, parts=["dit"]).parts) == {"dit"}
    assert set(checkpoint.describe(whole, parts=iter(["dit", "tokenizer"])).parts) == {"dit", "tokenizer"}
    assert_same_bits(checkpoint.load_component(whole, "dit", Net, CONFIG), arrays_for())
    with pytest.raises(ValueError, match="text_encoder: none of its"):
        checkpoint.describe(whole, parts=["dit", "text_encoder"])


def test_a_file_that_is_missing_or_cut_off_is_named(whole):
    files = [file for file in sorted((whole / "dit").rglob("*")) if file.is_file() and file.stat().st_size]
    for number, file in enumerate(files):
        content = file.read_bytes()
        if number % 2:
            file.unlink()
        else:
            file.write_bytes(content[:-1])
        name = file.relative_to(whole / "dit")
        with pytest.raises(ValueError, match=rf"dit: 1 of \d+ files are missing or cut off, for example {name}"):
            checkpoint.describe(whole)
        with pytest.raises(ValueError, match="incomplete"):
            checkpoint.load_component(whole, "dit", Net, CONFIG)
        file.write_bytes(content)
    checkpoint.describe(whole)


def test_a_folder_without_description_is_no_checkpoint(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            ValueError, match=r"is not a checkpoint folder: it has no checkpoint.json.*scripts/convert.py"
        ):
            checkpoint.describe(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"checkpoint\.json is damaged"),
        ("[]", r"checkpoint\.json is damaged"),
        ('{"format": 1, "parts": {"dit": {"size": 1}}}', r"checkpoint\.json is damaged"),
        ('{"format": 99, "parts": {}}', "has format 99, this version reads format 1; convert again"),
    ],
)
def test_a_description_that_cannot_be_read(whole, text, says):
    (whole / "checkpoint.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        checkpoint.describe(whole)


def test_another_size_is_refused_with_everything_that_differs(whole):
    asked = NetConfig(width=8, layers=5, scales=(0.5,))
    with pytest.raises(ValueError, match="another size than the configuration asks for") as raised:
        checkpoint.load_component(whole, "dit", Net, asked)
    message = str(raised.value)
    assert "width is 4, the configuration asks for 8" in message
    assert "layers is 3, the configuration asks for 5" in message
    assert "scales is (0.5, 2.0), the configuration asks for (0.5,)" in message
    assert "dtype" not in message


def test_a_folder_older_than_a_field_has_the_fields_default(whole):
    description = json.loads((whole / "checkpoint.json").read_text())
    del description["parts"]["dit"]["sizes"]["layers"]
    (whole / "checkpoint.json").write_text(json.dumps(description))
    assert_same_bits(checkpoint.load_component(whole, "dit", Net, CONFIG), arrays_for())
    with pytest.raises(ValueError, match="layers is 3, the configuration asks for 5"):
        checkpoint.load_component(whole, "dit", Net, NetConfig(layers=5))


def test_parameters_the_network_does_not_have_are_refused(tmp_path):
    arrays = arrays_for() | {"stack": np.zeros((2, 4), np.float32), "extra": np.zeros(1, np.float32)}
    folder = write(tmp_path / "made", dit={path: array for path, array in arrays.items() if path != "scale"})
    with pytest.raises(ValueError, match="do not fit this network") as raised:
        checkpoint.load_component(folder, "dit", Net, CONFIG)
    for line in ("missing scale ()", "unknown extra (1,)", "stack has shape (2, 4), the network needs (3, 4)"):
        assert line in str(raised.value)


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(orbax_item, "GROUP_BYTES", 0)

    def broken():
        yield from list(arrays_for().items())[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), checkpoint.new_folder(tmp_path / "made") as draft:
        checkpoint.save_component(draft, "dit", CONFIG, broken())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    for name in ("made", "made.incomplete"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").touch()
        with pytest.raises(ValueError, match=rf"{name} exists"), checkpoint.new_folder(tmp_path / "made"):
            pass
        assert (tmp_path / name / "precious").exists()
        shutil.rmtree(tmp_path / name)


def test_a_checkpoint_does_not_lie_in_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"x/y cannot be made: .*file is not a folder"):
        checkpoint.check_new(tmp_path / "file" / "x" / "y")
    checkpoint.check_new(tmp_path / "new" / "y")
    assert not (tmp_path / "new").exists()


def test_the_description_names_no_place_of_this_machine(whole, tmp_path):
    assert str(tmp_path) not in (whole / "checkpoint.json").read_text()
    assert json.loads((whole / "checkpoint.json").read_text())["format"] == checkpoint.FORMAT


def test_a_folder_does_not_name_the_place_where_it_was_written(whole):
    for file in whole.rglob("*"):
        assert not file.is_file() or str(whole.parent).encode() not in file.read_bytes(), file
