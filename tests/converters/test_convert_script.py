import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_torch import TINY, write_wan_folder

from converters import convert, source, student
from steady_jax import checkpoint, parameters

ROOT = Path(convert.__file__).parents[1]


@pytest.fixture
def wan(tmp_path):
    return tmp_path / "Wan2.1"


def run_script(*arguments):
    command = [sys.executable, str(ROOT / "scripts" / "convert.py"), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_script_converts_exports_and_reports_errors(tmp_path, wan):
    tensors = write_wan_folder(wan)["dit"]
    done = run_script(f"--source={wan}", f"--destination={tmp_path / 'made'}")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()][:4] == list(checkpoint.PARTS)
    assert done.stderr == ""
    module = checkpoint.load_component(tmp_path / "made", "vae", convert.NETWORKS["vae"][1], TINY["vae"])
    assert len(parameters.named(module)) > 0
    done = run_script(f"--source={tmp_path / 'made'}", f"--export={tmp_path / 's.pt'}")
    assert done.returncode == 0, done.stderr
    back = student.select(source.open_file(tmp_path / "s.pt")).tensors
    assert all((back[name].read() == tensor.numpy()).all() for name, tensor in tensors.items())
    done = run_script(f"--source={wan}", f"--destination={tmp_path / 'made'}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'made'} exists")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--destination=made"], "made exists and is never overwritten"),
        (["--export=nowhere/s.pt"], "nowhere/s.pt cannot be written: there is no folder nowhere"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)  # each is a process of its own
            for one in (
                (["--destination=interrupted"], "interrupted.incomplete exists: another conversion"),
                (["--destination=file/x"], "file/x cannot be made: "),
                (
                    ["--destination=new", "--parts="],
                    "parts must be one or more of dit, vae, text_encoder, tokenizer, got none",
                ),
                (["--destination=new", "--parts=dit,clip"], "got ['clip']"),
            )
        ),
    ],
)
def test_the_script_refuses_before_it_looks_for_sources(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "interrupted.incomplete").mkdir()
    (tmp_path / "file").touch()
    done = run_script("--source=there/is/none", *arguments)  # this would be the error otherwise
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_reports_errors_of_the_file_system_in_one_line(tmp_path, wan):
    write_wan_folder(wan, configs={"dit": TINY["dit"]})
    name = "n" * 250  # with its ending too long for any file system
    done = run_script(f"--source={wan}", f"--destination={tmp_path / name}", "--parts=dit")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith("error: [Errno ")
