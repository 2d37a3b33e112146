import ml_dtypes
import numpy as np
import pytest
import torch
from helpers_torch import TINY, random_tensors, write_student

from converters import source, student

STUDENT = "student.pt"


def opened(folder, content):
    torch.save(content, folder / STUDENT)
    return source.open_file(folder / STUDENT)


def assert_equal(tensors, expected):
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensors[name].read(), tensor.numpy())


@pytest.mark.parametrize(
    "name",
    [
        "blocks.3.ffn.0.weight",
        "model.blocks.3.ffn.0.weight",
        "model._fsdp_wrapped_module.blocks.3._fsdp_wrapped_module.ffn.0.weight",
        "_orig_mod.model.blocks.3._checkpoint_wrapped_module.ffn.0._orig_mod.weight",
    ],
)
def test_plain_name(name):
    assert student.plain_name(name) == "blocks.3.ffn.0.weight"


@pytest.mark.parametrize(
    ("choice", "taken", "ignored"),
    [
        ("auto", "generator_ema", ("critic", "generator", "step")),
        ("generator_ema", "generator_ema", ("critic", "generator", "step")),
        ("generator", "generator", ("critic", "generator_ema", "step")),
    ],
)
def test_the_chosen_weights_come_under_plain_names(tmp_path, choice, taken, ignored):
    tensors = write_student(tmp_path / STUDENT)
    found = student.select(source.open_file(tmp_path / STUDENT), choice)
    assert (found.taken, found.ignored) == (taken, ignored)
    assert_equal(found.tensors, tensors[taken])


def test_without_averaged_weights_auto_takes_the_generator(tmp_path):
    tensors = random_tensors("dit", TINY["dit"])
    found = student.select(opened(tmp_path, {"generator": tensors, "generator_ema": None}))
    assert found.taken == "generator"
    assert_equal(found.tensors, tensors)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_bare_dict_of_tensors_is_taken_whole(tmp_path, prefix):
    tensors = random_tensors("dit", TINY["dit"])
    found = student.select(opened(tmp_path, {prefix + name: tensor for name, tensor in tensors.items()}))
    assert (found.taken, found.ignored) == (student.BARE, ())
    assert_equal(found.tensors, tensors)


def test_weights_that_are_not_there(tmp_path):
    content = opened(tmp_path, {"generator": {"a": torch.zeros(1)}, "step": 1})
    with pytest.raises(
        ValueError, match=r"no weights 'generator_ema', it holds \['generator', 'step'\]; choose one of"
    ):
        student.select(content, "generator_ema")
    with pytest.raises(ValueError, match=r"weights must be one of .*, got 'ema'"):
        student.select(content, "ema")


def test_two_names_that_become_one_are_an_error(tmp_path):
    names = ("model.head.bias", "model._orig_mod.head.bias")
    content = opened(tmp_path, {"generator": {name: torch.zeros(1) for name in (*names, "model.other")}})
    with pytest.raises(ValueError, match=r"which to take\? \[\['model.head.bias', 'model._orig_mod.head.bias'\]\]"):
        student.select(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"state_dict": {"a": torch.zeros(1)}, "step": 3}, r"found \['state_dict \(dict\)', 'step \(int\)'\]"),
        ({"generator": {"a": torch.zeros(1), "b": None}}, r"found \['b \(NoneType\)'\]"),
        ({"a": torch.zeros(2, 2).to_sparse()}, r"found \['a \(Tensor\)'\]"),
        ({"generator": {}}, "found nothing"),
    ],
)
def test_weights_must_be_tensors_by_name(tmp_path, content, says):
    with pytest.raises(ValueError, match=f"must hold tensors by name and nothing else, {says}"):
        student.select(opened(tmp_path, content))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_an_exported_student_comes_back_to_the_bit(tmp_path, dtype):
    rng = np.random.default_rng(0)
    arrays = {
        "head.bias": rng.standard_normal(5).astype(dtype),
        "head.weight": rng.standard_normal((2, 3)).astype(dtype),
    }
    arrays["head.bias"][0] = np.nan
    student.export(tmp_path / STUDENT, arrays.items())
    assert set(torch.load(tmp_path / STUDENT, weights_only=True)["generator_ema"]) == {
        "model.head.bias",
        "model.head.weight",
    }
    found = student.select(source.open_file(tmp_path / STUDENT))
    assert found.taken == "generator_ema"
    for name, array in arrays.items():
        back = found.tensors[name].read()
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_a_full_disk_is_an_error_of_the_file_system(tmp_path, monkeypatch):
    def full(content, file):
        raise RuntimeError("basic_ios::clear: iostream error")  # as torch says it

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"student\.pt cannot be written, is the disk full\? torch says: basic_ios"):
        student.export(tmp_path / STUDENT, [])


def test_export_overwrites_nothing(tmp_path):
    (tmp_path / STUDENT).write_text("precious")
    with pytest.raises(ValueError, match=r"student\.pt exists and is never overwritten"):
        student.export(tmp_path / STUDENT, [])
    assert (tmp_path / STUDENT).read_text() == "precious"
