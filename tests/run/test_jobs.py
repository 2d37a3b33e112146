import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from steady_jax import saved_state
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.jobs import MADE_OF, Job, Request, in_step, planned, work_off
from steady_jax.run.recording import Video
from steady_jax.scenes import parse, timeline


def request_of(folder, text="Waves", seconds=1.5, **made_of):
    plan = timeline(parse(text), seconds, 3, 4)
    name = text.partition(" ")[0].lower()
    made_of = {"seed": 0, "scenes": [{"prompt": text}], "pipeline": {"memory": {"alpha": 0.9}}} | made_of
    return Request(Video(folder / f"{name}.mp4", 64, 64, 16), text, plan, 0, made_of)


def pretend(request, status, **made_of):
    """Leaves what a run of the request leaves: a video, a preview and settings."""
    for file in request.video.files:
        file.write_bytes(b"pictures")
    content = {"status": status, MADE_OF: {**request.made_of, **made_of}}
    request.video.files[2].write_text(json.dumps(content))


def save_state(request):
    saved_state.save(request.video.states, {"block": 1}, [("x", np.zeros(1))])


@pytest.fixture
def said():
    return []


@pytest.fixture
def plan(said):
    """`planned` for groups, and for videos that are made alone."""

    def plan(*groups, overwrite=False, resume=False):
        groups = [(group,) if isinstance(group, Request) else group for group in groups]
        return planned(groups, overwrite=overwrite, resume=resume, say=said.append)

    return plan


def wait_until_asked(ending):
    """A block that lasts until its worker is asked to end."""
    deadline = time.monotonic() + 10
    while not ending.asked:
        assert time.monotonic() < deadline, "nobody was asked to end"
        time.sleep(0.001)


def groups_of(requests, batch):
    return ["".join(request.text[0] for request in group) for group in in_step(requests, batch)]


def test_neighbours_whose_scenes_begin_and_end_together_are_made_in_step(tmp_path):
    texts = ["A", "B", "C [1s] | x", "D [1s] | y", "E [1s#] | x", "F [1.6s] | x", "G"]
    requests = [request_of(tmp_path, text) for text in texts]
    assert groups_of(requests, 3) == ["AB", "CD", "E", "F", "G"]
    assert groups_of(requests, 1) == list("ABCDEFG")
    assert groups_of([request_of(tmp_path, letter) for letter in "ABCDE"], 2) == ["AB", "CD", "E"]
    assert groups_of([request_of(tmp_path, "A"), request_of(tmp_path, "B", seconds=1.4)], 2) == ["A", "B"]
    assert groups_of([], 2) == []


def test_what_is_not_there_is_to_be_made(tmp_path, plan, said):
    request = request_of(tmp_path)
    for resume in (False, True):
        assert plan(request, resume=resume) == [Job((request,))]
    assert said == []
    assert Job((request,)).states == tmp_path / "waves.state"


def test_a_finished_video_is_left_alone(tmp_path, plan, said):
    first, second = request_of(tmp_path, "First"), request_of(tmp_path, "Second")
    pretend(first, "complete")
    for resume in (False, True):
        assert plan(first, second, resume=resume) == [Job((second,))]
        assert said.pop() == f"{first.video.path} is there already, made with the same settings"
    assert plan(first, overwrite=True) == [Job((first,), overwrite=True)]
    assert plan(first, overwrite=True, resume=True) == [Job((first,), overwrite=True)]
    assert said == []


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_an_unfinished_video_goes_on_where_it_is_asked_for(tmp_path, plan, said, status):
    request = request_of(tmp_path)
    pretend(request, status)
    with pytest.raises(FileExistsError, match=r"waves\.mp4 is unfinished: --resume goes on with it\n.*--overwrite"):
        plan(request)
    assert plan(request, resume=True) == [Job((request,), None, overwrite=True)]
    assert said == [f"no state was saved of {request.video.path} yet: it starts anew"]
    save_state(request)
    with pytest.raises(FileExistsError, match="--resume goes on with it"):
        plan(request)
    (job,) = plan(request, resume=True)
    assert (job.requests, job.overwrite) == ((request,), False)
    assert (job.state.path.parent, job.state.record) == (job.states, {"block": 1})
    assert len(said) == 1
    assert plan(request, overwrite=True) == [Job((request,), overwrite=True)]


def test_a_video_that_was_removed_is_made_anew(tmp_path, plan):
    request = request_of(tmp_path)
    pretend(request, "complete")
    request.video.path.unlink()
    with pytest.raises(FileExistsError, match=r"waves\.mp4 is unfinished"):
        plan(request)
    assert plan(request, resume=True) == [Job((request,), overwrite=True)]


def test_a_state_without_its_video_is_no_free_place(tmp_path, plan):
    request = request_of(tmp_path)
    save_state(request)
    with pytest.raises(FileExistsError, match=r"waves\.mp4 is unfinished"):
        plan(request)


def test_a_damaged_state_is_refused_before_anything_is_made(tmp_path, plan):
    request = request_of(tmp_path)
    pretend(request, "interrupted")
    save_state(request)
    (request.video.states / "00000000" / "state.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        plan(request, resume=True)


@pytest.mark.parametrize("status", ["running", "interrupted", "complete"])
@pytest.mark.parametrize("resume", [False, True])
def test_other_settings_are_named(tmp_path, plan, status, resume):
    request = request_of(tmp_path)
    pretend(request, status, pipeline={"memory": {"alpha": 0.5}}, seed=3)
    with pytest.raises(FileExistsError) as caught:
        plan(request, resume=resume)
    assert str(caught.value).splitlines() == [
        f"{request.video.path} was made with other settings (seed: 3 -> 0; pipeline.memory.alpha: 0.5 -> 0.9)",
        "  --overwrite replaces what is there; --config.output or --config.seed avoid it",
    ]
    assert plan(request, overwrite=True) == [Job((request,), overwrite=True)]


@pytest.mark.parametrize("settings", [None, b"{", b"[]", b'{"status": "complete"}', b"\xff\xfe"])
@pytest.mark.parametrize("others", [(0,), (1,), (0, 1)], ids=str)
def test_files_that_do_not_say_what_made_them_are_refused(tmp_path, plan, settings, others):
    request = request_of(tmp_path)
    for index in others:
        request.video.files[index].write_bytes(b"a film of somebody")
    if settings is not None:
        request.video.files[2].write_bytes(settings)
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r"waves\.mp4: files of this name exist, and do not say what made"):
            plan(request, resume=resume)
    assert plan(request, overwrite=True) == [Job((request,), overwrite=True)]


def test_everything_that_is_in_the_way_is_named_at_once(tmp_path, plan):
    requests = [request_of(tmp_path, text) for text in ("Strange", "Other", "Unfinished", "Complete", "New")]
    strange, other, unfinished, complete, _ = requests
    strange.video.path.write_bytes(b"a film of somebody")
    pretend(other, "complete", seed=1)
    pretend(unfinished, "interrupted")
    pretend(complete, "complete")
    with pytest.raises(FileExistsError) as caught:
        plan(*requests)
    assert names_in(caught.value) == ["strange", "other", "unfinished"]
    with pytest.raises(FileExistsError) as caught:
        plan(requests)  # in step
    assert names_in(caught.value) == ["strange", "other"]


def names_in(error):
    *lines, last = str(error).splitlines()
    assert last.startswith("  --overwrite replaces")
    return [Path(line.strip()).name.partition(".")[0] for line in lines]


def test_what_is_finished_of_a_group_is_left_alone(tmp_path, plan, said):
    first, second, third = group = tuple(request_of(tmp_path, name) for name in ("First", "Second", "Third"))
    pretend(first, "complete")
    save_state(first)  # left by a kill
    assert plan(group) == [Job((second, third))]
    assert len(said) == 1
    assert not first.video.states.exists()
    pretend(third, "running")
    with pytest.raises(FileExistsError, match=r"third\.mp4 is unfinished") as caught:
        plan(group)
    assert "second" not in str(caught.value)
    assert plan(group, resume=True) == [Job((second, third), overwrite=True)]
    recorded = {"recordings": [{"name": third.video.path.name}]}
    saved_state.save(third.video.states, {"caller": recorded}, [("x", np.zeros(2))])
    going_on, anew = plan(group, resume=True)
    assert (going_on.requests, going_on.state.record["caller"]) == ((third,), recorded)
    assert anew == Job((second,))
    for request in (second, third):
        pretend(request, "complete")
    said.clear()
    assert plan(group) == []
    assert len(said) == 3


def jobs_of(*names):
    return [Job((request_of(Path(), name),)) for name in names]


def name_of(job):
    return job.requests[0].text


def test_one_worker_does_all_jobs_without_a_thread():
    interrupt, done = Interrupt(), []

    def work(worker, job, ending):
        assert ending is interrupt
        done.append((worker, name_of(job), threading.current_thread()))

    work_off(jobs_of("A", "B", "C"), [lambda: "device"], work, interrupt)
    assert done == [("device", name, threading.main_thread()) for name in "ABC"]


def test_several_workers_do_every_job_once_and_side_by_side():
    together, done = threading.Barrier(3, timeout=10), []

    def work(worker, job, ending):
        if name_of(job) in "ABC":
            together.wait()  # passes only if three are at work
        done.append((name_of(job), worker))

    def make(number):
        return lambda: (number, threading.get_ident())

    names = "ABCDEFGHIJKLMNOP"
    work_off(jobs_of(*names), [make(number) for number in range(3)], work, Interrupt())
    assert sorted(name for name, _ in done) == list(names)
    assert {number for _, (number, _) in done} == {0, 1, 2}
    assert len({thread for _, (_, thread) in done} - {threading.get_ident()}) == 3


def test_there_are_no_more_workers_than_jobs():
    made = []
    work_off(jobs_of("A", "B"), [lambda: made.append("a worker")] * 5, lambda *_: None, Interrupt())
    assert len(made) == 2


def test_a_job_that_fails_ends_the_others_after_their_block():
    both, blocks = threading.Barrier(2, timeout=10), []

    def work(worker, job, ending):
        both.wait()
        if name_of(job) == "Fails":
            raise RuntimeError("device lost")
        wait_until_asked(ending)
        blocks.append(name_of(job))
        ending.check()
        blocks.append("another one")

    with pytest.raises(RuntimeError, match="device lost"):
        work_off(jobs_of("Fails", "Other", "Third", "Fourth"), [lambda: None] * 2, work, Interrupt())
    assert blocks == ["Other"]


def test_after_a_failure_no_other_job_begins():
    both, done = threading.Barrier(2, timeout=10), []

    def work(worker, job, ending):
        if name_of(job) not in ("Fails", "Other"):
            done.append(name_of(job))
            return
        both.wait()
        if name_of(job) == "Fails":
            raise RuntimeError("device lost")
        wait_until_asked(ending)  # in its last block
        done.append(name_of(job))

    with pytest.raises(RuntimeError, match="device lost"):
        work_off(jobs_of("Fails", "Other", "Third", "Fourth"), [lambda: None] * 2, work, Interrupt())
    assert done == ["Other"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_begin_is_told(workers):
    def broken():
        raise MemoryError("no room for the weights")

    with pytest.raises(MemoryError, match="no room"):
        work_off(jobs_of("A", "B"), [broken] * workers, lambda *_: None, Interrupt())


def test_an_interrupt_in_the_last_block_of_a_job_lets_no_other_begin():
    done = []

    def work(worker, job, ending):
        done.append(name_of(job))
        ending.asked = True

    with pytest.raises(KeyboardInterrupt):
        work_off(jobs_of("A", "B"), [lambda: None], work, Interrupt())
    assert done == ["A"]


def test_ctrl_c_ends_all_workers_after_their_block(listening):
    begun, blocks = threading.Barrier(3, timeout=10), []

    def work(worker, job, ending):
        begun.wait()
        wait_until_asked(ending)
        blocks.append(name_of(job))
        ending.check()
        blocks.append("another one")

    def press_ctrl_c():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=press_ctrl_c)
    person.start()
    with pytest.raises(KeyboardInterrupt):
        work_off(jobs_of("A", "B", "C", "D"), [lambda: None] * 2, work, listening)
    assert sorted(blocks) == ["A", "B"]  # both had ended when it was raised
    person.join()
