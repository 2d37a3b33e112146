"""Makes videos from prompts: python scripts/sample.py --config=configs/tiny.py --config.prompt="..."

--resume goes on with what an earlier run of the same command left unfinished; finished videos are left alone.
"""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from steady_jax import checkpoint, parts, saved_state
from steady_jax.config import sampling_of
from steady_jax.pictures import fit_text, fitted, read_clip, read_picture
from steady_jax.pipeline import SteadyPipeline
from steady_jax.run import command_line, jobs
from steady_jax.run.command_line import usage_errors
from steady_jax.run.files import make_folder_of
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.jobs import MADE_OF, Job, Request
from steady_jax.run.progress import Progress
from steady_jax.run.prompts import read_prompts, video_name
from steady_jax.run.recording import LAST_FRAMES, Recording, Video, check_videos, record, recorded
from steady_jax.run.sidecar import versions
from steady_jax.scene_file import read
from steady_jax.scenes import FRAMES_PER_SECOND, Scene, parse
from steady_jax.session import EXTRA, LATENTS, Encode
from steady_jax.start import Start

MODELS_WITHOUT_CHECKPOINT = ("tiny",)
DEFAULT_SECONDS = 5.0  # of a prompt that says nothing of time


def main(config: ConfigDict, interrupt: Interrupt) -> None:
    """Checks everything that was asked for, encodes all prompts, then makes one video after the other."""
    with usage_errors():
        part = parts.part_of(config.part)
        check_switches(config)
        asked = scenes_asked_for(config)
        check_weights(config)
        tell_training(config)
        devices = devices_asked_for(config)
        pipeline = SteadyPipeline.from_config(config)
        start = start_asked_for(config, pipeline)
        requests = [request_of(config, pipeline, start, *one, index) for index, one in enumerate(asked)]
        for request in requests:
            check(pipeline, request, start)
        groups = parts.share(list(jobs.in_step(requests, config.batch)), part)
        todo = jobs.planned(groups, overwrite=config.overwrite, resume=config.resume, say=say)
        check_output(config)
        for job in todo:  # what a restart needs is looked at before anything is computed
            if job.state is not None:
                check_state(config, pipeline, job)
    if not todo:
        return
    encode = encoded_prompts(pipeline, todo, interrupt)
    total = sum((request.plan.frames + (start.shown if start else 0)) for job in todo for request in job.requests)
    with Progress(total) as progress, usage_errors((OSError,)):  # a full disk, or a video that another process writes

        def work(pipeline: SteadyPipeline, job: Job, interrupt: Interrupt) -> None:
            make(config, pipeline, job, encode, start, progress, interrupt)

        workers = [lambda: pipeline, *(lambda device=device: pipeline.on(device) for device in devices[1:])]
        jobs.work_off(todo, workers, work, interrupt)


def make(
    config: ConfigDict,
    pipeline: SteadyPipeline,
    job: Job,
    encode: Encode,
    start: Start | None,
    progress: Progress,
    interrupt: Interrupt,
) -> None:
    """Makes the videos of a job, from the beginning or from where they stopped."""
    requests = job.requests
    if job.state is None:
        saved_state.remove(job.states)
        filled = [*requests, *[requests[-1]] * (config.batch - len(requests))]  # the batch is always whole
        plans, seeds = [request.plan for request in filled], [request.seed for request in filled]
        session = pipeline.session_of(plans, seeds, encode, start, keep_latents=config.compact_states)
        before = [None] * len(requests)
    else:
        with usage_errors():  # a damaged state
            session = pipeline.restore(job.states, encode=encode, start=start, keep_latents=config.compact_states)
            last_frames = job.state.read_to_host(EXTRA)[LAST_FRAMES]
        before = recorded(job.state.record["caller"], last_frames)
        progress.add(sum(one.frames for one in before), were_there=True)
    recordings = []
    for request, after in zip(requests, before, strict=True):
        where = f", from {after.frames / FRAMES_PER_SECOND:.1f} s on" if after else ""
        progress.say(f"{request.video.path}  {request.text}{where}")
        settings = settings_of(config, pipeline, request)
        with usage_errors():  # a video that is gone or damaged since its state was saved
            recordings.append(Recording(request.video, settings, overwrite=job.overwrite, after=after))
    timings = record(
        session,
        recordings,
        progress,
        states=job.states,
        save_every=config.save_every,
        compact=config.compact_states,
        interrupt=interrupt,
        say=progress.say,
    )
    saved_state.remove(job.states)
    for request, timing in zip(requests, timings, strict=True):
        progress.say(f"wrote {request.video.path} in {timing['seconds']:.1f} s")


def scenes_asked_for(config: ConfigDict) -> list[tuple[str, tuple[Scene, ...]]]:
    """The text and the scenes of every video.

    Raises:
        ValueError: none or several ways to give them, or a mistake in a schedule or a scene file.
        OSError: a file cannot be read.
    """
    texts = read_prompts(config.prompt, config.prompt_file, config.scenes)
    if config.scenes is None:
        return [(text, parsed(text, number if config.prompt_file else None)) for number, text in enumerate(texts, 1)]
    scenes = read(config.scenes)
    return [(" | ".join(scene.prompt for scene in scenes), scenes)]


def parsed(text: str, number: int | None) -> tuple[Scene, ...]:
    """The scenes of a prompt; mistakes in a file of prompts say which of them it is."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(str(error) if number is None else f"prompt {number} of the file: {error}") from error


def check_switches(config: ConfigDict) -> None:
    """Raises ValueError for settings of the run, not of its videos, that cannot be meant."""
    if config.overwrite and config.resume:
        raise ValueError("--overwrite begins anew and --resume goes on: give one of them, both are given")
    if not 0 <= config.save_every < float("inf"):
        raise ValueError(
            f"save_every is a number of seconds, or 0 to save only when interrupted, got {config.save_every}"
        )


def devices_asked_for(config: ConfigDict) -> list[jax.Device]:
    """The devices of this process that make videos.

    Raises:
        ValueError: more than there are, or none.
    """
    devices = jax.local_devices()
    count = len(devices) if config.devices is None else config.devices
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"this process has {len(devices)} devices, got --config.devices={count}; leave it out to use all of them"
        )
    return devices[:count]


def start_asked_for(config: ConfigDict, pipeline: SteadyPipeline) -> Start | None:
    """What the videos start from, and says how it is made to fit.

    Raises:
        ValueError: two starts, a file without pictures, or a clip of a length that does not fit.
        OSError: the file cannot be read.
    """
    if config.image is not None and config.video is not None:
        raise ValueError("a video starts from one thing: give --config.image or --config.video, both are given")
    if config.image is not None:
        clip = read_picture(config.image)
        size = clip.shape[1:3]
        clip = fitted(clip, config.height, config.width)
    elif config.video is not None:
        clip = read_clip(config.video)
        size = clip.height, clip.width
    else:
        return None
    if text := fit_text(*size, config.height, config.width):
        say(text)
    return pipeline.start_from(clip, when_odd=config.when_odd)


def request_of(
    config: ConfigDict,
    pipeline: SteadyPipeline,
    start: Start | None,
    text: str,
    scenes: tuple[Scene, ...],
    index: int,
) -> Request:
    """One video that is asked for: its scenes in time, where it will be, and all that decides its frames."""
    says_nothing_of_time = len(scenes) == 1 and scenes[0].seconds is None and config.seconds is None
    plan = pipeline.timeline(scenes, DEFAULT_SECONDS if says_nothing_of_time else config.seconds, start)
    name = video_name(text, config.seed, index if config.prompt_file is not None else None)
    video = Video(Path(config.output) / f"{name}.mp4", config.height, config.width, FRAMES_PER_SECOND)
    made_of = {
        "seed": config.seed,
        "frames": plan.frames,
        "scenes": [
            {"prompt": scene.prompt, "block": block, "flush": scene.flush, "cut": scene.cut}
            for scene, block in zip(plan.scenes, plan.starts, strict=True)
        ],
        "start": start.digest if start else None,
        "pipeline": pipeline.engine.identity,
    }
    return Request(video, text, plan, config.seed, made_of)


def check(pipeline: SteadyPipeline, request: Request, start: Start | None) -> None:
    """Raises ValueError for a video that cannot be made, and says what of its prompts is cut off."""
    batch = pipeline.engine.batch
    pipeline.check([request.plan] * batch, [request.seed] * batch, start)
    for scene in request.plan.scenes:
        if cut := pipeline.tokenizer.overflow(scene.prompt):
            tokens = pipeline.tokenizer.length
            say(f"note: longer than {tokens} tokens: {scene.prompt[:40]!r}...; this is cut: {cut!r}")


def check_state(config: ConfigDict, pipeline: SteadyPipeline, job: Job) -> None:
    """Raises ValueError if a job cannot go on from its state with this config, and says what may change its frames."""
    pipeline.check_state(job.state)
    before = jobs.settings_beside(job.requests[0]).get("versions", {})
    if changed := saved_state.differences(before, versions(pipeline.engine.device.device_kind)):
        say(f"note: the frames may differ from those of an undisturbed run by roundings, as {'; '.join(changed)}")
    check_videos(job.state.record["caller"], [request.video for request in job.requests])
    if config.compact_states and LATENTS not in job.state.shapes:
        raise ValueError(
            f"compact states are made of all latents, and the state {job.state.path} holds none; "
            "go on with --config.compact_states=False"
        )


def check_output(config: ConfigDict) -> None:
    """Raises OSError if videos cannot be written where they are to be."""
    make_folder_of(Path(config.output) / "video")
    with tempfile.TemporaryFile(dir=config.output):
        pass


def check_weights(config: ConfigDict) -> None:
    """Says that the picture will be noise where there is no checkpoint.

    Raises:
        ValueError: the config's model is too large to be looked at with random weights.
    """
    if config.checkpoint:
        return
    if config.model not in MODELS_WITHOUT_CHECKPOINT:
        raise ValueError(
            f"the model {config.model} needs weights: convert them with scripts/convert.py (see README) "
            "and name the folder with --config.checkpoint=FOLDER"
        )
    say("no checkpoint: the weights are random, so the picture is noise; --config.checkpoint=FOLDER names trained ones")


def tell_training(config: ConfigDict) -> None:
    """Says where a student is sampled in another way than it was trained: that may be meant, and may look worse.

    Raises:
        ValueError: the folder is no checkpoint.
    """
    trained = checkpoint.describe(config.checkpoint).sampling if config.checkpoint else None
    if trained is None:
        return
    asked = sampling_of(config)
    same_policy = trained["policy"] == asked["policy"]
    keys = [key for key in asked if key != "dtype" and (same_policy or key != "memory")]
    if changed := saved_state.differences(*({key: one[key] for key in keys} for one in (trained, asked))):
        say(f"note: this is not how the student was trained, and may look worse: {'; '.join(changed)}")


def encoded_prompts(pipeline: SteadyPipeline, todo: list[Job], interrupt: Interrupt) -> Encode:
    """Encodes every prompt once, then lets the text encoder go. Returns the embeddings of a prompt."""
    new = [request for job in todo if job.state is None for request in job.requests]  # a state holds its prompts
    scenes = [scene for request in new for scene in request.plan.scenes]
    prompts = list(dict.fromkeys(scene.prompt for scene in scenes))
    if prompts:
        say(f"encoding {len(prompts)} prompt{'s' if len(prompts) > 1 else ''}")
    embeddings = {}
    for prompt in prompts:
        embeddings[prompt] = np.asarray(pipeline.encode(prompt))  # on the host: there may be thousands
        interrupt.check()
    pipeline.release_text_encoder()
    return embeddings.__getitem__


def settings_of(config: ConfigDict, pipeline: SteadyPipeline, request: Request) -> dict[str, object]:
    """What the JSON beside a video says of how it was made."""
    return {
        "prompt": request.text,
        "seed": request.seed,
        "fps": FRAMES_PER_SECOND,
        "config": config,
        MADE_OF: request.made_of,
        "versions": versions(pipeline.engine.device.device_kind),
    }


def say(text: str) -> None:
    """Tells the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main, __doc__)
