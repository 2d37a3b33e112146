"""A trial from its config: checked before anything is made, made kind by kind, and gone on with where it was stopped.

WORKDIR/config.json            the config, and what the checkpoints held
WORKDIR/SOURCE-KIND.json       records of the videos, see steady_jax.trial.record
WORKDIR/SOURCE-KIND.png        a contact sheet of some of them
WORKDIR/report.md              all tables
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from steady_jax import checkpoint
from steady_jax.block import BlockSettings
from steady_jax.data.nature_flow import KINDS
from steady_jax.diffusion.ode import ODE
from steady_jax.evaluation import classifier
from steady_jax.evaluation.classifier import Classifier
from steady_jax.pipeline import SteadyPipeline
from steady_jax.run.files import replacing
from steady_jax.run.sheet import sheet_of_videos
from steady_jax.train import workdir
from steady_jax.train.workdir import Workdir
from steady_jax.trial import report, sources
from steady_jax.trial.record import SHORT, Record, record_of
from steady_jax.trial.sources import Asked, Made, Source
from steady_jax.trial.teacher import TeacherVideos

SHOWN, ROWS = (0, 5, 30, 60, 240), 3  # seconds and videos on a sheet
# where things lie, and how many videos are made together: what they are is among "inputs"
FREE = ("workdir", "checkpoint", "teacher", "classifier", "kinds", "batch")


class Trial:
    """One trial, checked and not yet begun."""

    def __init__(self, config: ConfigDict) -> None:
        """Raises ValueError for a config that cannot be run whole, or a folder of another trial."""
        _check_counts(config)
        self.config, self.home = config, Workdir(Path(config.workdir))
        self.judge = _judge(config.classifier)
        self.kinds = tuple(config.kinds) or KINDS
        self.sources = _sources(config)
        self._told = {**config.to_dict(), "inputs": _inputs(config)}
        self._check()

    def __call__(self, say: Callable[[str], None], check: Callable[[], None]) -> Path:
        """Makes what is missing, and the report.

        Args:
            say: is told what is done.
            check: is called between pieces of work, and may raise.
        Returns:
            The report's file.
        """
        with workdir.claimed(self.home):
            workdir.write_config(self.home, self._told)
            for name, source in self.sources.items():
                for kind in self.kinds:
                    if not self._file(name, kind).exists():
                        self._make(name, source, kind, say, check)
            text = report.markdown(self.results())
            written = self.home.folder / "report.md"
            with replacing(written) as partial:
                partial.write_text(text, encoding="utf-8")
        return written

    def results(self) -> Mapping[str, Mapping[str, Sequence[Record]]]:
        """Records by source, then kind."""
        return {
            name: {kind: json.loads(self._file(name, kind).read_text(encoding="utf-8")) for kind in self.kinds}
            for name in self.sources
        }

    def _make(
        self, name: str, source: Source, kind: str, say: Callable[[str], None], check: Callable[[], None]
    ) -> None:
        asked = sources.asked_of(source, kind, self.config.seed)
        records: list[Record] = []
        for part in sources.batches(asked, source.batch):
            check()
            made = source.make(part)
            if not records:
                self._sheet(name, part, made)
            records += _records(self.judge, part, made)
            say(f"{name}, {kind}: {len(records)} of {len(asked.prompts)}")
        with replacing(self._file(name, kind)) as partial:
            partial.write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")

    def _sheet(self, name: str, asked: Asked, made: Made) -> None:
        times = [time for time in SHOWN if time <= asked.seconds]
        sheet_of_videos(list(made.videos[:ROWS]), self._file(name, asked.kind).with_suffix(".png"), at=times)

    def _file(self, name: str, kind: str) -> Path:
        return self.home.folder / f"{name}-{kind}.json"

    def _check(self) -> None:
        if strange := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, got {', '.join(strange)}")
        if lacking := [kind for kind in self.kinds if kind not in self.judge.kinds]:
            raise ValueError(
                f"the classifier {self.config.classifier} does not know {', '.join(lacking)}; train one with "
                "scripts/train_classifier.py"
            )
        if lacking := [kind for kind in self.kinds if not self.config.own_words.get(kind)]:
            raise ValueError(f"own_words must have prompts for every kind, and has none for {', '.join(lacking)}")
        if min(self.config.seconds, self.config.long_seconds) < SHORT:
            raise ValueError(
                f"the first and last {SHORT:g} s are named, so seconds and long_seconds must be as long at least, got "
                f"{self.config.seconds:g} and {self.config.long_seconds:g}"
            )
        workdir.check(self.home, self._told, FREE)


def _check_counts(config: ConfigDict) -> None:
    for name, least in (("prompts", 0), ("long_prompts", 0), ("seed", 0), ("batch", 1)):
        if config[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {config[name]}")


def _records(judge: Classifier, asked: Asked, made: Made) -> list[Record]:
    masks = made.masks if made.masks is not None else [None] * len(made.videos)
    rows = zip(asked.prompts, asked.seeds, made.videos, masks, strict=True)
    return [record_of(judge, asked.kind, *row) for row in rows]


def _judge(path: str) -> Classifier:
    if not Path(path).is_file():
        raise ValueError(
            f"there is no classifier {path}; make it with python scripts/train_classifier.py --output={path}"
        )
    return classifier.load(path)


def _inputs(config: ConfigDict) -> Mapping[str, str]:
    """What the folders hold, wherever they lie."""
    judged = f"sha256 {hashlib.sha256(Path(config.classifier).read_bytes()).hexdigest()}"
    found = {"classifier": judged, "checkpoint": checkpoint.fingerprint(config.checkpoint)}
    return {**found, "teacher": checkpoint.fingerprint(config.teacher)} if config.teacher else found


class _Students:
    """The student under its own memory and under parts of it, opened when they are asked for the first time."""

    def __init__(self, config: ConfigDict) -> None:
        self._config, self.trained = config, SteadyPipeline.from_checkpoint(config.checkpoint)
        self._opened: dict[tuple[str | None, int], SteadyPipeline] = {}

    def source(self, ablation: str | None, prompts: int | Mapping[str, Sequence[str]], seconds: float) -> Source:
        """Raises ValueError if the memory cannot make videos of that length."""
        most = prompts if isinstance(prompts, int) else max(map(len, prompts.values()))
        batch = max(min(self._config.batch, most), 1)
        settings = self._settings(ablation)
        settings.policy.check(settings.frames, self.trained.timeline("a trial", seconds).blocks)
        make = functools.partial(sources.rolled_out, open_pipeline=lambda: self._open(ablation, batch))
        return Source(make, prompts, seconds, batch)

    def _settings(self, ablation: str | None) -> BlockSettings:
        return self.trained.settings if ablation is None else sources.ablated(self.trained.settings, ablation)

    def _open(self, ablation: str | None, batch: int) -> SteadyPipeline:
        if (ablation, batch) not in self._opened:
            settings = self._settings(ablation)
            self._opened[ablation, batch] = SteadyPipeline.from_checkpoint(
                self._config.checkpoint, settings, batch=batch
            )
        return self._opened[ablation, batch]


def _sources(config: ConfigDict) -> Mapping[str, Source]:
    """All sources that make any video; none is begun.

    Raises:
        ValueError: a folder is no checkpoint, or a memory cannot make videos of that length.
    """
    students = _Students(config)
    pipeline = students.trained
    size = {"height": pipeline.engine.height, "width": pipeline.engine.width}
    of_clips, vae = {"seed": config.seed, **size}, pipeline.network("vae")
    painted, still = (functools.partial(make, **of_clips) for make in (sources.procedural, sources.frozen))
    through = functools.partial(sources.reconstructed, vae=vae, **of_clips)
    found = {
        "procedural": Source(painted, config.prompts, config.seconds, config.batch),
        "frozen": Source(still, config.prompts, SHORT, config.batch),
        "reconstruction": Source(through, config.prompts, SHORT, config.batch),
    }
    if config.teacher:
        settings = ODE(config.teacher_steps, pipeline.settings.calls.shift, config.teacher_guidance)
        teacher = TeacherVideos(config.teacher, vae, settings, **size)
        found["teacher"] = Source(teacher, config.prompts, SHORT, config.batch)
    found |= {
        "own_words": students.source(None, config.own_words.to_dict(), SHORT),
        "steady": students.source(None, config.prompts, config.seconds),
        "window": students.source(config.window, config.prompts, config.seconds),
        "steady_long": students.source(None, config.long_prompts, config.long_seconds),
        "window_long": students.source(config.window, config.long_prompts, config.long_seconds),
    }
    return {name: source for name, source in found.items() if source.prompts}
