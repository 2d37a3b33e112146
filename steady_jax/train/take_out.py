"""A model out of the checkpoints of a run: what a run of several processes cannot write itself, or an earlier step."""

import dataclasses
import json
import tempfile
from pathlib import Path

import jax
from flax import nnx
from ml_collections import ConfigDict

from steady_jax import checkpoint, orbax_item, parallel, parameters
from steady_jax.run.files import make_folder_of
from steady_jax.train import build
from steady_jax.train.export import rewrite
from steady_jax.train.stages.base import BaseStage
from steady_jax.train.state import Trained, TrainState
from steady_jax.train.workdir import Workdir


def take_out(workdir: str | Path, destination: str | Path, step: int | None = None, dtype: str | None = None) -> int:
    """Writes the averaged weights of a checkpoint as a checkpoint folder, on one process and in the host's memory.

    The folders and data that the run's config names must be there; optimisers and critics are not read.

    Args:
        workdir: of a run, which may be going on.
        destination: folder to make.
        step: of the checkpoint; None: the newest.
        dtype: of the weights; None: as the run has them.
    Returns: its step.
    Raises:
        ValueError: the destination exists, the folder is no run's or has no such checkpoint, or the config no longer
            fits what it names.
    """
    home = Workdir(Path(workdir))
    checkpoint.check_new(destination)
    step = _step(home, step)
    config = _config(home)
    mesh = parallel.make_mesh({}, jax.local_devices(backend="cpu")[:1])
    with jax.set_mesh(mesh):
        stage = build.training(config, mesh).stage
        state = _read(home, step, stage)
        if dtype is None:
            stage.export(state, Path(destination))
            return step
        make_folder_of(Path(destination))
        with tempfile.TemporaryDirectory(dir=Path(destination).parent) as draft:
            stage.export(state, Path(draft) / "model")
            rewrite(Path(draft) / "model", destination, dtype, {**stage.exported, **stage.setup.copied})
    return step


def _step(home: Workdir, step: int | None) -> int:
    """The checkpoint that is asked for. One that is still being written has another name than a number."""
    there = sorted(int(path.name) for path in home.checkpoints.glob("*") if path.name.isdigit())
    if not there or step not in (None, *there):
        raise ValueError(
            f"{home.checkpoints} has {'no checkpoint' if step is None else f'no checkpoint of step {step}'}, "
            f"there are {', '.join(map(str, there)) or 'none'}; name the --workdir of a run, and one of its steps"
        )
    return there[-1] if step is None else step


def _config(home: Workdir) -> ConfigDict:
    """The run's config, as one CPU computes it."""
    if not home.config.exists():
        raise ValueError(f"{home.folder} has no {home.config.name}, so it is no run; name the --workdir of one")
    stored = json.loads(home.config.read_text(encoding="utf-8"))
    stored.pop("inputs", None)  # what the folders held when the run began
    return ConfigDict({**stored, **({"attention": "auto"} if "attention" in stored else {})})


def _read(home: Workdir, step: int, stage: BaseStage) -> TrainState:
    """A state of nothing but the networks that the stage exports, their averages where they are kept."""
    folder = home.checkpoints / str(step)
    stored, abstract = orbax_item.shapes(folder), stage.abstract()
    networks = {}
    for name in stage.exported.values():
        trained = abstract.networks[name]
        kind = "weights" if trained.average is None else "average"
        weights = _network(folder, stored, f"networks/{name}/{kind}/", getattr(trained, kind))
        networks[name] = dataclasses.replace(Trained(weights, None), **{kind: weights})
    return TrainState(abstract.step, networks)


def _network(folder: Path, stored: dict[str, jax.ShapeDtypeStruct], prefix: str, abstract: nnx.Module) -> nnx.Module:
    found = {path.removeprefix(prefix): leaf for path, leaf in stored.items() if path.startswith(prefix)}
    parameters.filled(abstract, found)  # tells what does not fit
    wanted = {f"{prefix}{path}": leaf for path, leaf in parameters.named(abstract).items()}
    arrays = orbax_item.read(folder, wanted)
    return parameters.filled(abstract, {path.removeprefix(prefix): array for path, array in arrays.items()})
