"""The folder of one training run, and the rule that one config fills it.

WORKDIR/config.json     the config that makes it
WORKDIR/checkpoints/    what a restart goes on from, see steady_jax.train.checkpoints
WORKDIR/metrics.jsonl   the log, see steady_jax.train.log
WORKDIR/tensorboard/    the same for TensorBoard
WORKDIR/samples/STEP/   clips and contact sheets
WORKDIR/model/          what was trained, at the end: a checkpoint folder for sampling, conversion and the next stage
"""

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from steady_jax.run.files import replacing
from steady_jax.run.sidecar import plain
from steady_jax.saved_state import differences

# keys of a config, groups of keys among them, that say how a run goes and not what it computes
HOW_IT_RUNS = (
    *("workdir", "mesh", "join", "cut", "remat"),
    *("log_every", "save_every", "keep", "held_out_every", "sample_every", "sample_prompts"),
    # where things lie; what they are is among the config's "inputs"
    *("init", "critic", "teacher", "vae", "text_encoder", "tokenizer", "data.path"),
)
LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Where everything lies."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def model(self) -> Path:
        return self.folder / "model"


def check(home: Workdir, config: Mapping[str, Any] | ConfigDict, free: Sequence[str] = HOW_IT_RUNS) -> None:
    """Checks that a run of this config may begin or go on in the folder. Changes nothing.

    Args:
        free: keys that may differ from those of the config that is there; a key stands for all keys below it.
    Raises:
        ValueError: lists the keys that differ; or the folder holds something else than a run.
    """
    if home.folder.exists() and not home.folder.is_dir():
        raise ValueError(f"{home.folder} is a file; name another --workdir")
    if not home.config.exists():
        if found := _strangers(home):
            raise ValueError(
                f"{home.folder} holds {', '.join(found[:3])} but no {home.config.name}, so it is no run of ours and "
                "nothing is mixed into it; name another --workdir"
            )
        return
    changed = differences(_stored(home), _as_json(config))
    if refused := [line for line in changed if not _is_free(line.split(": ")[0], free)]:
        raise ValueError(
            f"the run in {home.folder} was made with another config:\n  "
            + "\n  ".join(refused)
            + "\nGo on with the config it has, or name another --workdir."
        )


def write_config(home: Workdir, config: Mapping[str, Any] | ConfigDict) -> None:
    """Makes the folder, and puts this config into it."""
    text = json.dumps(_as_json(config), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(home.config) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


@contextlib.contextmanager
def claimed(home: Workdir) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it; the claim ends with the process, however that ends.

    Raises:
        ValueError: another run is going on in it.
    """
    home.folder.mkdir(parents=True, exist_ok=True)
    with (home.folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another run is going on in {home.folder}; wait for it or name another --workdir"
            ) from None
        except OSError:  # a file system without locks: then it is up to whoever starts runs
            pass
        yield


def _strangers(home: Workdir) -> list[str]:
    """What lies in the folder, but what a run leaves that was killed before its config was written."""
    ours = (LOCK, f"{home.config.name}.partial")
    return sorted(path.name for path in home.folder.iterdir() if path.name not in ours) if home.folder.exists() else []


def _stored(home: Workdir) -> dict[str, Any]:
    try:
        return json.loads(home.config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{home.config} is damaged ({error}); put it back, or name another --workdir") from error


def _as_json(config: Mapping[str, Any] | ConfigDict) -> dict[str, Any]:
    return plain({"config": config})["config"]


def _is_free(key: str, free: Sequence[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in free)
