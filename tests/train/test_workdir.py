import json

import pytest
from ml_collections import ConfigDict

from steady_jax.train.workdir import HOW_IT_RUNS, Workdir, check, claimed, write_config

CONFIG = {
    "seed": 0,
    "steps": 10,
    "save_every": 5,
    "mesh": {"data": 1, "fsdp": 8},
    "timesteps": (1000, 750),
    "path": None,
}


@pytest.fixture
def home(tmp_path):
    made = Workdir(tmp_path / "run")
    check(made, CONFIG)
    write_config(made, CONFIG)
    return made


def test_the_same_config_goes_on_in_any_form(home):
    check(home, CONFIG)
    check(home, ConfigDict(CONFIG))
    check(home, json.loads(home.config.read_text()))


def test_a_config_that_differs_is_refused_with_the_keys(home):
    other = {**CONFIG, "seed": 1, "timesteps": (1000, 500), "new": 3, "mesh": {"data": 8, "fsdp": 1}, "save_every": 7}
    with pytest.raises(ValueError, match="made with another config") as refused:
        check(home, other)
    assert str(refused.value).splitlines()[1:-1] == [
        "  seed: 0 -> 1",
        "  timesteps: [1000, 750] -> [1000, 500]",
        "  new: None -> 3",
    ]
    assert json.loads(home.config.read_text())["seed"] == 0


def test_keys_that_say_how_it_runs_may_differ(home):
    check(home, {**CONFIG, "mesh": {"data": 2, "fsdp": 4}, "save_every": 1})
    with pytest.raises(ValueError, match="steps: 10 -> 20"):
        check(home, {**CONFIG, "steps": 20})
    check(home, {**CONFIG, "steps": 20}, free=(*HOW_IT_RUNS, "steps"))
    with pytest.raises(ValueError, match="meshes: None -> 1"):  # a longer name is another key
        check(home, {**CONFIG, "meshes": 1})


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    home = Workdir(tmp_path)
    check(home, CONFIG)  # empty
    (tmp_path / "config.json.partial").write_text("{")  # of a run that was killed at its very beginning
    (tmp_path / ".lock").touch()
    check(home, CONFIG)
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(ValueError, match=r"holds thesis.tex but no config.json"):
        check(home, CONFIG)
    with pytest.raises(ValueError, match="is a file"):
        check(Workdir(tmp_path / "thesis.tex"), CONFIG)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_config_is_named(home):
    home.config.write_text('{"seed"')
    with pytest.raises(ValueError, match=rf"{home.config} is damaged"):
        check(home, CONFIG)


def test_two_runs_do_not_share_a_folder(home):
    with claimed(home), pytest.raises(ValueError, match="another run is going on"), claimed(home):
        pass
    with claimed(home):  # the claim has ended
        pass
