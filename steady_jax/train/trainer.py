"""The trainer around a stage: it feeds batches, keeps checkpoints and the log, and can be stopped at any moment.

What decides the result is in three places: the config (with the seed), the state, and the position in the data. A
checkpoint holds the last two, so a run that was killed and is started again goes on as if nothing had happened, bit for
bit on the same devices.
"""

import contextlib
import dataclasses
import io
import os
import shutil
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from steady_jax.run.interrupt import Interrupt, Stopped
from steady_jax.run.progress import STEPS, Progress
from steady_jax.run.sidecar import plain, versions
from steady_jax.saved_state import differences
from steady_jax.train import workdir as workdirs
from steady_jax.train.checkpoints import Checkpoints
from steady_jax.train.feeding import put
from steady_jax.train.finite import first_not_finite, not_finite
from steady_jax.train.log import Log, Means
from steady_jax.train.samples import write_samples
from steady_jax.train.stage import Batch, Metrics, Stage
from steady_jax.train.state import TrainState
from steady_jax.train.together import Together
from steady_jax.train.workdir import HOW_IT_RUNS, Workdir


@typing.runtime_checkable
class Batches(typing.Protocol):
    """An endless iterator over batches that knows its position, such as grain's DatasetIterator."""

    def __next__(self) -> dict[str, np.ndarray]:
        """The rows of the next batch that this process reads, see `steady_jax.train.feeding`."""
        ...

    def get_state(self) -> dict[str, Any]:
        """The position behind the last batch, in what JSON can hold; the same in every process."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position."""
        ...


@dataclasses.dataclass(frozen=True)
class TrainerSettings:
    """How long a run is, and how often it does what; counts of steps. 0: never."""

    steps: int
    log_every: int = 10
    save_every: int = 500  # 0: only at the end and when it is interrupted
    keep: int = 3  # checkpoints
    held_out_every: int = 0  # the state before the first step counts as well
    sample_every: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for counts that cannot be meant."""
        for name, least in (("steps", 1), ("log_every", 1), ("keep", 1), ("save_every", 0), ("held_out_every", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is at least {least}, got {value}")
        if self.sample_every < 0:
            raise ValueError(f"sample_every is at least 0, got {self.sample_every}")

    def saves_at(self, step: int) -> bool:
        """Whether the state after a step is saved."""
        return step == self.steps or _due(self.save_every, step)

    def is_pause(self, step: int) -> bool:
        """Whether something is done after a step that needs all its numbers first."""
        return self.saves_at(step) or _due(self.held_out_every, step) or _due(self.sample_every, step)


def train(
    stage: Stage,
    batches: Batches,
    settings: TrainerSettings,
    workdir: str | Path,
    config: Mapping[str, Any] | ConfigDict,
    interrupt: Interrupt,
    *,
    free: Sequence[str] = HOW_IT_RUNS,
    stream: io.TextIOBase | None = None,
) -> None:
    """Trains a stage to the end, from its start or from the newest checkpoint of the folder.

    Every process of a run calls it with the same arguments, `batches` apart.

    Args:
        stage: what is trained; its devices.
        batches: positioned at the first batch.
        settings: how long, how often.
        workdir: new or empty, or the folder of a run with this config; see `steady_jax.train.workdir`. All processes
            see the same files in it.
        config: what made `stage`, `batches` and `settings`, the seed included.
        interrupt: how the person at the terminal, or the machine's owner, ends it: the step that runs is finished and
            saved.
        free: keys of the config that may differ from those that the run began with.
        stream: where progress is shown, stderr if None.
    Raises:
        ValueError: the folder is not one of this run (lists the keys of the config that differ), or holds the model of
            fewer steps. Nothing is changed.
        Stopped: it was told to end; everything is saved.
        FloatingPointError: a metric or the state is not finite; the checkpoints before are kept.
        OSError: the disk refuses a checkpoint.
    """
    home, together = Workdir(Path(workdir)), Together(stage.mesh)
    with (
        jax.set_mesh(stage.mesh),
        _opened(home, config, free, together),
        _progress(settings, together, stream) as progress,
        Checkpoints(home.checkpoints, settings.keep) as checkpoints,
    ):
        plain(batches.get_state())  # or the first save would fail, after long work
        step, means = checkpoints.latest or 0, Means()
        if step >= settings.steps and together.any(home.model.exists()):
            progress.say(f"{home.folder} is finished: {step} steps, the model is in {home.model}")
            return
        with together.one_fate():
            _check_no_model(home)
        if step == 0:
            progress.stage("making the first state")
            state = stage.start()
        else:
            progress.say(f"going on from step {step}, {checkpoints.path(step)}")
            record = checkpoints.record(step)
            _tell_changes(record, progress)
            state, means = checkpoints.restore(step, stage.abstract()), Means(record["means"])
            batches.set_state(record["data"])
        with Log(home.metrics, home.tensorboard, step) if together.is_first else contextlib.nullcontext() as log:
            run = _Run(stage, batches, settings, home, together, checkpoints, means, log, progress)
            with interrupt.held():
                state = _train_steps(run, interrupt, state, step)
        checkpoints.wait()
        _export(stage, state, home, together, progress)


def _train_steps(run: "_Run", interrupt: Interrupt, state: TrainState, step: int) -> TrainState:
    """Trains from `step` to the end. The devices have the next step to do while the numbers of the last are read."""
    unread, first = None, step
    while step < run.settings.steps:
        run.look_at(step, state)
        if step == first:
            run.progress.stage("compiling and training the first step")
        state, metrics = run.stage.train_step(step, state, run.next_batch(step))
        step += 1
        if unread is not None:
            run.read(*unread, state)
        unread = step, metrics
        stop = run.together.heard(interrupt.asked)
        if stop or run.settings.is_pause(step):
            run.read(*unread, state)
            unread = None
            stop = run.together.heard(interrupt.asked) or stop
        if stop or run.settings.saves_at(step):
            run.save(step, state)
        if stop:
            run.progress.say(f"saving step {step}; Ctrl-C again gives it up")
            run.checkpoints.wait()
            run.progress.say(
                f"step {step} is saved in {run.checkpoints.path(step)}; the same command goes on from there"
            )
            raise Stopped
    run.look_at(step, state)
    return state


@dataclasses.dataclass(frozen=True)
class _Run:
    """Everything around the steps of one run."""

    stage: Stage
    batches: Batches
    settings: TrainerSettings
    home: Workdir
    together: Together
    checkpoints: Checkpoints
    means: Means
    log: Log | None  # of the first process
    progress: Progress

    def next_batch(self, step: int) -> Batch:
        """The next batch, on the devices.

        Raises:
            ValueError: there is none, or its rows cannot be shared out.
        """
        try:
            return put(next(self.batches), self.stage.mesh)
        except StopIteration:
            raise ValueError(f"the data ended after {step} of {self.settings.steps} steps; repeat it") from None

    def read(self, step: int, metrics: Metrics, newest: TrainState) -> None:
        """Waits for the numbers of a step, then logs and shows them.

        Args:
            newest: the state after this step or a later one.
        Raises:
            FloatingPointError: one is not finite.
        """
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        if bad := not_finite(values):
            raise self._spoilt(step, ", ".join(bad), first_not_finite(newest, self.stage.mesh))
        self.means.add(values)
        if _due(self.settings.log_every, step):
            means = self.means.take()
            if self.log is not None:
                self.log.metrics(step, means)
        losses = [f"{name} {value:.3g}" for name, value in values.items() if name.endswith("loss")]
        self.progress.update(step, note="  ".join(losses))

    def save(self, step: int, state: TrainState) -> None:
        """Saves the state after a step whose numbers were read.

        Raises:
            FloatingPointError: the step made it not finite.
        """
        if spoilt := first_not_finite(state, self.stage.mesh):
            raise self._spoilt(step, "the state", spoilt)
        if self.log is not None:
            self.log.sync()
        made_with = versions(self.stage.mesh.devices.flat[0].device_kind)
        record = {"data": plain(self.batches.get_state()), "means": self.means.sums, "versions": made_with}
        self.checkpoints.save(step, state, record)

    def look_at(self, step: int, state: TrainState) -> None:
        """Measures and shows the state after a step, where that is due and was not done before a restart."""
        if _due(self.settings.held_out_every, step) and not self._has_held_out(step):
            self.progress.stage("measuring on held-out data")
            numbers = {name: float(value) for name, value in self.stage.held_out(state).items()}
            if bad := not_finite(numbers):
                where = first_not_finite(state, self.stage.mesh)
                raise self._spoilt(step, f"on held-out data {', '.join(bad)}", where)
            if self.log is not None and numbers:
                self.log.held_out(step, numbers)
        folder = self.home.samples / str(step)
        if _due(self.settings.sample_every, step) and not self.together.any(folder.exists()):
            self.progress.stage("making samples")
            clips = self.stage.samples(state)
            if self.together.is_first:
                write_samples(folder, clips)

    def _has_held_out(self, step: int) -> bool:
        return self.together.any(self.log is not None and self.log.has_held_out(step))

    def _spoilt(self, step: int, what: str, where: str | None) -> FloatingPointError:
        kept = self.checkpoints.latest
        return FloatingPointError(
            f"training stopped at step {step}: not finite: {what}"
            + (f"; the first array that holds such numbers is {where}" if where else "; the arrays of the state are")
            + ". Nothing of it is saved; "
            + (
                "there is no checkpoint yet"
                if kept is None
                else f"the newest checkpoint is {self.checkpoints.path(kept)}"
            )
        )


@contextlib.contextmanager
def _opened(
    home: Workdir, config: Mapping[str, Any] | ConfigDict, free: Sequence[str], together: Together
) -> Iterator[None]:
    """Checks the folder and makes it this run's own."""
    with contextlib.ExitStack() as claim:
        with together.one_fate():
            workdirs.check(home, config, free)
        with together.one_fate():
            if together.is_first:
                claim.enter_context(workdirs.claimed(home))
                workdirs.write_config(home, config)
        with together.one_fate():
            if not home.config.exists():
                raise ValueError(f"this process does not see {home.config}; all processes need one --workdir")
        yield


@contextlib.contextmanager
def _progress(settings: TrainerSettings, together: Together, stream: io.TextIOBase | None) -> Iterator[Progress]:
    """Progress in steps; only the first process shows it."""
    with (
        open(os.devnull, "w") as nowhere,
        Progress(settings.steps, unit=STEPS, stream=stream if together.is_first else nowhere) as progress,
    ):
        yield progress


def _tell_changes(record: Mapping[str, Any], progress: Progress) -> None:
    """Says what may make the numbers differ from those of an undisturbed run."""
    now = versions(jax.devices()[0].device_kind)
    if changed := differences(record["versions"], now):
        progress.say(f"note: numbers may differ from those of an undisturbed run by roundings, as {'; '.join(changed)}")


def _check_no_model(home: Workdir) -> None:
    """A run that was made longer must not find its place taken at the end, or the next stage takes the old model."""
    if home.model.exists():
        raise ValueError(
            f"{home.model} is from fewer steps than this run is to have, and is never overwritten; move it away"
        )


def _export(stage: Stage, state: TrainState, home: Workdir, together: Together, progress: Progress) -> None:
    """Writes the model, where one process has all of it."""
    if jax.process_count() > 1:
        progress.say(
            "training is finished; this run's processes hold parts of the weights, so the model is written by one "
            f"process alone: python scripts/export.py --workdir={home.folder} --destination={home.model}"
        )
        return
    # what a killed run left; no other run is in this folder
    shutil.rmtree(home.model.with_name(f"{home.model.name}.incomplete"), ignore_errors=True)
    progress.stage("writing the model")
    stage.export(state, home.model)
    progress.say(f"the model is in {home.model}")


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
