import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steady_jax.run import command_line
from steady_jax.run.command_line import UsageError, help_text, parse, usage_errors
from steady_jax.run.interrupt import ENDINGS

CONFIG = """
from ml_collections import ConfigDict, config_dict

def get_config(flavour="plain"):
    if flavour not in ("plain", "spicy"):
        raise ValueError(f"unknown flavour {flavour!r}; known are plain, spicy")
    config = ConfigDict()
    config.seconds = 5.0
    config.seed = 0
    config.name = config_dict.placeholder(str)
    config.flavour = flavour
    config.steps = (1000, 500)
    config.resume = False
    config.shown = True
    config.memory = ConfigDict({"alpha": 0.99, "flush": True})
    return config
"""


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "config.py"
    file.write_text(CONFIG)
    return file


def read(file, *words):
    return parse(["sample.py", f"--config={file}", *words])


def test_defaults_and_overrides(config_file):
    words = ("--config.seconds=7", "--config.name=sea", "--config.memory.alpha=1", "--config.memory.flush=False")
    config = read(config_file, *words, "--config.steps=(1000, 750, 250)")
    assert (config.seconds, config.name, config.seed) == (7.0, "sea", 0)
    assert (config.memory.alpha, config.memory.flush, config.steps) == (1.0, False, (1000, 750, 250))
    assert isinstance(config.seconds, float)


def test_what_is_true_or_false_is_a_word_of_its_own(config_file):
    assert (read(config_file).resume, read(config_file).shown) == (False, True)
    config = read(config_file, "--resume", "--config.seed=3", "--shown")
    assert (config.resume, config.shown, config.seed) == (True, True, 3)
    assert read(config_file, "--resume", "--config.resume=False").resume is False  # the last one counts
    assert read(config_file, "--config.resume=True").resume is True


def test_a_key_may_be_said_without_the_word_config(config_file):
    config = read(config_file, "--seed=3", "--name=sea=calm", "--memory.alpha=0.5", "--steps=(1000,)", "--resume=True")
    assert (config.seed, config.name, config.memory.alpha) == (3, "sea=calm", 0.5)
    assert (config.steps, config.resume) == ((1000,), True)
    assert read(config_file, "--seed", "4").seed == 4
    assert read(config_file, "--config.seed=5", "--seed=6").seed == 6  # the last one counts


def test_fractions_are_taken_where_a_number_can_have_one(config_file):
    assert read(config_file, "--config.seconds=7.5").seconds == 7.5


def test_the_argument_of_a_config_file(config_file):
    assert read(f"{config_file}:spicy").flavour == "spicy"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--config.secnds=3"],
            "unknown config key secnds; known keys are flavour, memory.alpha, memory.flush, name, resume, s",
        ),
        (["--config.memory.beta=3"], "unknown config key memory.beta; known"),
        (["--config.seed=7.5"], "invalid literal for int"),
        (["--config.seconds=soon"], "could not convert string to float"),
        (["--confg.seed=7"], "Unknown command line flag 'confg.seed'"),
        (["surplus"], "unknown argument 'surplus'"),
        (["resume"], "unknown argument 'resume'"),
        (["--resum"], "Unknown command line flag 'resum'"),
        (["--secnds=3"], "Unknown command line flag 'secnds'"),
        (["--alpha=3"], "Unknown command line flag 'alpha'"),  # that is memory.alpha
        (["--seed=7.5"], "invalid literal for int"),
        (["--seed"], "Missing value for flag --config.seed"),  # a number
        (["--memory"], "Unknown command line flag 'memory'"),
        (["--flush"], "Unknown command line flag 'flush'"),  # that is memory.flush
    ],
)
def test_mistakes_are_one_line(config_file, words, message):
    with pytest.raises(UsageError, match=message) as caught:
        read(config_file, *words)
    assert len(str(caught.value).splitlines()) == 1


def test_a_mistake_inside_a_config_file_is_its_own_line(config_file):
    with pytest.raises(UsageError, match=r"^unknown flavour 'sour'; known are plain, spicy$"):
        read(f"{config_file}:sour")


@pytest.mark.parametrize("words", [[], ["--config.seed=1"]])
def test_a_config_file_is_needed(words):
    with pytest.raises(UsageError, match=r"name a config file: --config=configs/NAME\.py"):
        parse(["sample.py", *words])


def test_a_config_file_must_exist():
    with pytest.raises(UsageError, match=r"'nowhere\.py' does not exist"):
        read("nowhere.py")


def test_help_lists_the_keys_of_the_config(config_file):
    text = help_text(["sample.py", "--help", f"--config={config_file}"], "Makes videos.")
    assert text.startswith("Makes videos.\n")
    assert "--config.memory.alpha=0.99" in text
    assert help_text(["sample.py", "--help"], "Makes videos.") == "Makes videos.\n"


def test_only_wrapped_errors_are_the_persons():
    with pytest.raises(UsageError, match="seven"), usage_errors():
        raise ValueError("seven")
    with pytest.raises(UsageError, match="no file"), usage_errors():
        raise FileNotFoundError("no file")
    with pytest.raises(TypeError), usage_errors():
        raise TypeError
    with pytest.raises(ValueError, match="seven"), usage_errors((OSError,)):
        raise ValueError("seven")


@pytest.mark.parametrize(
    ("error", "status", "said"), [(UsageError("wrong"), 2, "error: wrong\n"), (KeyboardInterrupt(), 130, "stopped\n")]
)
def test_run_ends_with_a_status(config_file, monkeypatch, capsys, error, status, said):
    monkeypatch.setattr(sys, "argv", ["sample.py", f"--config={config_file}"])
    monkeypatch.setattr(command_line.Interrupt, "listen", lambda _: None)
    monkeypatch.setattr(command_line.os, "_exit", sys.exit)  # or the test run would end too

    def main(config, interrupt):
        interrupt.check()
        assert config.seed == 0
        raise error

    with pytest.raises(SystemExit) as ended:
        command_line.run(main, "")
    assert ended.value.code == status
    assert capsys.readouterr().err == said


def test_run_listens_before_it_begins(config_file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sample.py", f"--config={config_file}"])
    monkeypatch.setattr(command_line.os, "_exit", sys.exit)
    before = {ending: signal.getsignal(ending) for ending in ENDINGS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = []

    def main(config, interrupt):
        with interrupt.held():
            os.kill(os.getpid(), signal.SIGINT)
        asked.append(interrupt.asked)
        interrupt.check()

    try:
        with pytest.raises(SystemExit) as ended:
            command_line.run(main, "")
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    assert asked == [True]
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_what_libraries_log_does_not_bury_the_line_that_counts(config_file):
    code = """
from absl import logging
from steady_jax.run import command_line

def main(config, interrupt):
    logging.error("every thread of the array store says with a trace that the disk is full")
    raise command_line.UsageError("the disk is full")

command_line.run(main, "")
"""
    command = [sys.executable, "-c", code, f"--config={config_file}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the disk is full\n")
