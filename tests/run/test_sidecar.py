import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict, config_dict

from steady_jax.run import sidecar
from steady_jax.run.sidecar import plain, sidecar_path, versions, write_sidecar


def settings():
    config = ConfigDict(
        {"memory": {"sink": 3, "window": (18, 3)}, "checkpoint": config_dict.placeholder(str), "scale": 2.5}
    )
    config.blocks = config.memory.get_ref("sink") + 4
    return config


def test_a_sidecar_lies_beside_its_video_and_holds_everything(tmp_path):
    path = write_sidecar(
        tmp_path / "new" / "river.v2.mp4",
        status="complete",
        config=settings(),
        prompt="长江 at dawn",
        seed=np.int64(7),
        timings={"total": np.float32(1.5), "blocks": (0.25, np.float64(0.5))},
        output=Path("outputs") / "river.v2.mp4",
        frames=81,
        fps=16,
        looped=np.bool_(True),
    )
    assert path == tmp_path / "new" / "river.v2.json" == sidecar_path(tmp_path / "new" / "river.v2.mp4")
    assert "长江" in path.read_text("utf-8")
    assert json.loads(path.read_text("utf-8")) == {
        "status": "complete",
        "config": {"memory": {"sink": 3, "window": [18, 3]}, "checkpoint": None, "scale": 2.5, "blocks": 7},
        "prompt": "长江 at dawn",
        "seed": 7,
        "timings": {"total": 1.5, "blocks": [0.25, 0.5]},
        "output": "outputs/river.v2.mp4",
        "frames": 81,
        "fps": 16,
        "looped": True,
    }


def test_what_json_cannot_hold_is_refused_by_name_all_at_once():
    required = ConfigDict({"prompt": config_dict.required_placeholder(str)})
    content = {
        "config": {"weights": [1.0, np.zeros(2)], "dtype": np.float32, "inner": {"when": float("nan"), 3: "three"}},
        "raw": b"bytes",
        "loss": np.float32("inf"),
        "items": {1, 2},
        "required": required,
    }
    with pytest.raises(TypeError) as refusal:
        plain(content)
    assert [line.strip() for line in str(refusal.value).splitlines()[1:]] == [
        "config.weights[1] is a ndarray",
        "config.dtype is a type",
        "config.inner.when is nan",
        "config.inner.3 has a int as its key",
        "raw is a bytes",
        "loss is inf",
        "items is a set",
        "required.prompt is a required placeholder without a value",
    ]


def test_a_refused_or_failed_sidecar_leaves_the_older_one(tmp_path):
    path = write_sidecar(tmp_path / "v.mp4", status="running", frames=0)
    before = path.read_text()
    with pytest.raises(TypeError, match="latents is a ndarray"):
        write_sidecar(tmp_path / "v.mp4", status="complete", latents=np.zeros(2))
    with pytest.raises(ValueError, match="running, complete, interrupted, got 'done'"):
        write_sidecar(tmp_path / "v.mp4", status="done")
    (tmp_path / "v.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as failure:
        write_sidecar(tmp_path / "v.mp4", status="complete", frames=9)
    assert any("v.json could not be written" in note for note in failure.value.__notes__)
    assert path.read_text() == before
    write_sidecar(tmp_path / "v.mp4", status="interrupted", frames=9)
    assert json.loads(path.read_text()) == {"status": "interrupted", "frames": 9}
    assert [file.name for file in tmp_path.iterdir()] == ["v.json"]


def test_a_reader_sees_the_old_or_the_new_sidecar_never_a_part(tmp_path, monkeypatch):
    path = write_sidecar(tmp_path / "v.mp4", status="running")
    seen, replace = [], os.replace

    def watching(source, target):
        seen.append((json.loads(path.read_text())["status"], json.loads(Path(source).read_text())["status"]))
        replace(source, target)

    monkeypatch.setattr("os.replace", watching)
    write_sidecar(tmp_path / "v.mp4", status="complete")
    assert seen == [("running", "complete")]


def test_versions_name_what_computed_the_video(monkeypatch):
    found = versions(jax.devices()[0].device_kind)
    assert found["jax"] == jax.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["device"] == "cpu"
    assert set(found) == {"steady_jax", "jax", "jaxlib", "flax", "numpy", "python", "platform", "device"}
    assert all(re.match(r"\d+\.\d+", found[name]) for name in ("jaxlib", "flax"))
    monkeypatch.setitem(sidecar.PACKAGES, "steady_jax", "a-package-that-is-not-installed")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("a-package-that-is-not-installed")
    assert versions("cpu")["steady_jax"] == "unknown"
    assert plain(found) == found
