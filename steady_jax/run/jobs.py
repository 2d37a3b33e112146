"""What a sampling run has to do: which videos are asked for, which are there already, and which go on from a state."""

import dataclasses
import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from steady_jax import saved_state
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.recording import Video, names_in
from steady_jax.saved_state import SavedState
from steady_jax.scenes import Timeline

MADE_OF = "made_of"  # in the settings beside a video: all that decides which frames it has

Worker = TypeVar("Worker")


@dataclasses.dataclass(frozen=True)
class Request:
    """A video that is asked for."""

    video: Video
    text: str  # the prompt or the schedule, as it was given
    plan: Timeline
    seed: int
    made_of: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """Videos made in step."""

    requests: tuple[Request, ...]
    state: SavedState | None = None  # to go on from
    overwrite: bool = False

    @property
    def states(self) -> Path:
        """Folder of the states of all videos of the job."""
        return self.requests[0].video.states


def in_step(requests: Iterable[Request], batch: int) -> Iterator[tuple[Request, ...]]:
    """Groups neighbours whose scenes begin and end together, at most `batch` of them."""
    group: list[Request] = []
    for request in requests:
        if group and (len(group) == batch or group[0].plan.rhythm != request.plan.rhythm):
            yield tuple(group)
            group = []
        group.append(request)
    if group:
        yield tuple(group)


def planned(
    groups: Iterable[Sequence[Request]], *, overwrite: bool, resume: bool, say: Callable[[str], None]
) -> list[Job]:
    """What is left to do. Finished videos are left alone; unfinished ones go on if `resume` is set.

    Raises:
        FileExistsError: lists all files that are in the way, and why.
        ValueError: a damaged state.
    """
    jobs, in_the_way = [], []
    for group in groups:
        if overwrite:
            jobs.append(Job(tuple(group), overwrite=True))
            continue
        if problems := [problem for request in group if (problem := _other_settings(request))]:
            in_the_way += problems
            continue
        for request in group:
            if _is_finished(request):
                say(f"{request.video.path} is there already, made with the same settings")
                saved_state.remove(request.video.states)  # a kill may have left it
        rest = [request for request in group if not _is_finished(request)]
        begun = [request for request in rest if request.video.states.exists() or _files(request)]
        if begun and not resume:
            in_the_way += [f"{one.video.path} is unfinished: --resume goes on with it" for one in begun]
        else:
            jobs += _unfinished(rest, begun, say)
    if in_the_way:
        raise FileExistsError(
            "\n  ".join([*in_the_way, "--overwrite replaces what is there; --config.output or --config.seed avoid it"])
        )
    return jobs


def _unfinished(rest: Sequence[Request], begun: Sequence[Request], say: Callable[[str], None]) -> Iterator[Job]:
    """The jobs of what is left of a group: one that goes on from a state, if there is one, and one that begins."""
    state = next((state for request in begun if (state := saved_state.latest(request.video.states))), None)
    held = names_in(state.record.get("caller", {})) if state else []
    going_on = tuple(request for request in rest if request.video.path.name in held)
    anew = tuple(request for request in rest if request not in going_on)
    if state:
        yield Job(going_on or tuple(rest), state)
    if anew and (going_on or not state):
        for request in anew:
            if request in begun:
                say(f"no state was saved of {request.video.path} yet: it starts anew")
        yield Job(anew, overwrite=any(request in begun for request in anew))


def work_off(
    jobs: Sequence[Job],
    workers: Sequence[Callable[[], Worker]],
    work: Callable[[Worker, Job, Interrupt], None],
    interrupt: Interrupt,
) -> None:
    """Does all jobs, each by the next worker that is free; a single worker needs no thread.

    Args:
        workers: one per device; called in its own thread when it begins.
        work: does a job and looks at its interrupt between blocks.
        interrupt: of the process. When it is asked to end, or a job fails, all workers end after their block.
    Raises: what the first job that fails raises.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def until_done(make: Callable[[], Worker], ending: Interrupt) -> None:
        worker = make()
        while not waiting.empty():
            ending.check()
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            work(worker, job, ending)

    if len(workers) == 1:
        until_done(workers[0], interrupt)
        return
    ending, failures = Interrupt(), []

    def watched(make: Callable[[], Worker], ended: threading.Event) -> None:
        try:
            until_done(make, ending)
        except BaseException as error:  # told in the main thread
            failures.append(error)
            ending.asked = True
        finally:
            ended.set()

    ends = [threading.Event() for _ in workers[: len(jobs)]]
    threads = [threading.Thread(target=watched, args=pair) for pair in zip(workers, ends, strict=False)]
    try:
        for thread in threads:
            thread.start()
        for ended in ends:
            _wait(ended)
    except KeyboardInterrupt:
        ending.asked = True
        for thread, ended in zip(threads, ends, strict=True):
            if thread.ident is not None:  # it was started
                _wait(ended)
        raise
    if failures:
        raise failures[0]


def _wait(ended: threading.Event) -> None:
    """Waits for a thread and hears signals. Thread.join takes a thread for dead if a signal came while it waited."""
    while not ended.wait(timeout=0.2):  # in pieces: a signal just before a wait does not end it
        pass


def _is_finished(request: Request) -> bool:
    return request.video.path.exists() and settings_beside(request).get("status") == "complete"


def _files(request: Request) -> list[Path]:
    """What is there of a video."""
    return [file for file in request.video.files if file.exists()]


def _other_settings(request: Request) -> str | None:
    """Why what is there is not the video that is asked for; None if it is that one, finished or not, or nothing is."""
    if not _files(request):
        return None
    settings = settings_beside(request)
    if MADE_OF not in settings:
        return f"{request.video.path}: files of this name exist, and do not say what made them"
    differing = saved_state.differences(settings[MADE_OF], request.made_of)
    return f"{request.video.path} was made with other settings ({'; '.join(differing)})" if differing else None


def settings_beside(request: Request) -> dict[str, Any]:
    """What the JSON beside a video says; {} if it is not there or says nothing."""
    try:
        content = json.loads(request.video.files[2].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
