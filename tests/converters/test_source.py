import json
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from converters import source

DTYPES = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: ml_dtypes.bfloat16}


def save_zip(tensors, file):
    torch.save(tensors, file)


def save_old(tensors, file):
    torch.save(tensors, file, _use_new_zipfile_serialization=False)


WRITERS = {"safetensors": save_file, "zip": save_zip, "old": save_old}
writers = pytest.mark.parametrize("save", WRITERS.values(), ids=WRITERS)


def example(dtype=torch.float32):
    """Values that differ in every bit pattern's half, among them an infinity and a NaN."""
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    values[0, :2] = torch.tensor([float("inf"), float("nan")])
    return {"a.weight": values.to(dtype), "b": torch.arange(4).to(dtype), "scalar": torch.tensor(2.5).to(dtype)}


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same_bits(found, tensors):
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        array = found[name].read()
        assert found[name].shape == array.shape == tuple(tensor.shape)
        assert found[name].dtype == array.dtype == DTYPES[tensor.dtype]
        assert array.tobytes() == bits(tensor)


@writers
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_come_back_to_the_bit(tmp_path, save, dtype):
    save(example(dtype), tmp_path / "file")
    assert_same_bits(source.open_file(tmp_path / "file"), example(dtype))


@pytest.mark.parametrize(
    ("save", "name"), [(save_file, "model.pt"), (save_zip, "model.safetensors"), (save_old, "a.json")]
)
def test_files_are_told_by_content_not_by_name(tmp_path, save, name):
    save(example(), tmp_path / name)
    assert_same_bits(source.open_file(tmp_path / name), example())


def test_transposed_and_empty_tensors(tmp_path):
    tensors = {"transposed": torch.arange(6.0).reshape(2, 3).T, "empty": torch.zeros(0, 4)}
    torch.save(tensors, tmp_path / "file.pt")
    found = source.open_file(tmp_path / "file.pt")
    np.testing.assert_array_equal(found["transposed"].read(), [[0, 3], [1, 4], [2, 5]])
    assert found["empty"].read().shape == (0, 4)


def test_data_at_odd_addresses_comes_aligned(tmp_path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (1 - len(header) % 2)  # the data starts at an odd byte
    data = np.array([1.5, -2.0], np.float32)
    (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header + data.tobytes())
    array = source.open_file(tmp_path / "file")["x"].read()
    assert array.flags.aligned
    np.testing.assert_array_equal(array, data)


def test_mappings_inside_a_torch_file_stay_mappings(tmp_path):
    torch.save({"generator": example(), "step": 3}, tmp_path / "file.pt")
    found = source.open_file(tmp_path / "file.pt")
    assert found["step"] == 3
    assert_same_bits(found["generator"], example())


def write_index(folder, where):
    (folder / "model.index.json").write_text(json.dumps({"weight_map": where}))


@writers
def test_an_index_joins_its_files(tmp_path, save):
    tensors = example()
    save({"a.weight": tensors["a.weight"]}, tmp_path / "one")
    save({"b": tensors["b"], "scalar": tensors["scalar"]}, tmp_path / "two")
    write_index(tmp_path, {"a.weight": "one", "b": "two", "scalar": "two"})
    assert_same_bits(source.open_file(tmp_path / "model.index.json"), tensors)
    assert source.tensor_files(tmp_path) == [tmp_path / "model.index.json"]


def test_a_folder_offers_its_files_of_tensors_only(tmp_path):
    save_file(example(), tmp_path / "b")
    save_zip(example(), tmp_path / "a.bin")
    (tmp_path / "config.json").write_text('{"num_heads": 2}')
    (tmp_path / "README.md").write_text("{")
    (tmp_path / "empty").touch()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("notes.txt", "no tensors")
    assert source.tensor_files(tmp_path) == [tmp_path / "a.bin", tmp_path / "b"]


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def save_pickle(content, file):
    file.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [save_zip, save_old, save_pickle])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, save):
    file, proof = tmp_path / "student.pt", tmp_path / "was-run"
    save({"generator": Evil(proof)}, file)
    with pytest.raises(ValueError, match=r"student\.pt.*(refused|would run code)") as raised:
        source.open_file(file)
    assert "torch says" not in str(raised.value)  # its advice is to run the code
    assert not proof.exists()


@writers
def test_a_file_cut_off_anywhere_is_an_error_with_its_name(tmp_path, save):
    save(example(), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    cut = tmp_path / "cut.bin"
    for length in {*range(0, len(content), max(1, len(content) // 60)), len(content) - 1}:
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.bin"):
            source.open_file(cut)


def test_what_is_wrong_with_a_cut_file_is_said(tmp_path):
    save_file(example(), tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[:-3])
    with pytest.raises(ValueError, match=f"a is cut off: its header speaks of {len(content)} bytes, the file has"):
        source.open_file(tmp_path / "a")
    (tmp_path / "a").write_bytes(content[:40])
    with pytest.raises(ValueError, match="is cut off: its header needs"):
        source.open_file(tmp_path / "a")
    save_zip(example(), tmp_path / "b")
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-100])
    with pytest.raises(ValueError, match="is cut off: it starts as a torch file"):
        source.open_file(tmp_path / "b")


def write_header(file, header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"{not json", "header cannot be read"),
        ({"x": {"dtype": "F32", "shape": [2]}}, "header cannot be read"),
        ({"x": 7}, "header cannot be read"),
        ({"x": {"dtype": "F32", "shape": ["two"], "data_offsets": [0, 8]}}, "header cannot be read"),
        ({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, r"x F32 \(3,\) cannot lie in bytes 0 to 8"),
        ({"x": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}, "cannot lie"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "is damaged: its header speaks of"),
        ({"x": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}, "x has type F4, known are F64"),
    ],
)
def test_a_damaged_header_is_an_error_with_the_files_name(tmp_path, header, says):
    write_header(tmp_path / "bad.safetensors", header)
    with pytest.raises(ValueError, match=rf"bad\.safetensors.*{says}"):
        source.open_file(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"a.weight": "gone"}, r"files that are not beside it: \['gone'\]"),
        ({"a.weight": "../one"}, r"files that are not beside it: \['../one'\]"),
        ({"c": "one"}, r"tensors that their files do not hold: \['c'\]"),
        ({"a.weight": "model.index.json"}, "which name further files"),
    ],
)
def test_an_index_that_does_not_fit_its_files(tmp_path, where, says):
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (tmp_path, folder):
        save_file(example(), place / "one")
    write_index(folder, where)
    with pytest.raises(ValueError, match=rf"model\.index\.json.*{says}"):
        source.open_file(folder / "model.index.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"hello", b"\x80\x04N.", bytes(range(256))])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "thing").write_bytes(content)
    with pytest.raises(ValueError, match="thing is none of the files that can be read"):
        source.open_file(tmp_path / "thing")


def test_a_torch_file_must_hold_a_mapping(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt holds a list; needed is a mapping"):
        source.open_file(tmp_path / "list.pt")


def test_settings(tmp_path):
    assert source.read_settings(tmp_path) is None
    file = tmp_path / "config.json"
    file.write_text('{"num_heads": 2}')
    assert source.read_settings(tmp_path) == {"num_heads": 2}
    file.write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json must hold a JSON object, got list"):
        source.read_settings(tmp_path)
    file.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        source.read_settings(tmp_path)


def test_the_refusal_of_code_says_the_way_out(tmp_path):
    save_zip({"generator": Evil(tmp_path / "was-run")}, tmp_path / "student.pt")
    with pytest.raises(
        ValueError, match=r"would run code from the file\. .* save its tensors alone as \{name: tensor\}"
    ):
        source.open_file(tmp_path / "student.pt")


def test_whole_numbers_of_settings():
    assert source.whole_number({}, "num_heads", 7) == 7
    assert source.whole_number({"num_heads": 2}, "num_heads", 7) == 2
    for value in ("two", "2", 2.0, None, True, 0, [2]):
        with pytest.raises(ValueError, match=r"config\.json must give num_heads as a positive integer, got "):
            source.whole_number({"num_heads": value}, "num_heads", 7)
