"""Makes videos from prompts: python scripts/sample.py --config=configs/tiny.py --config.prompt="..." """

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from steady_jax.pipeline import FRAMES_PER_SECOND, SteadyPipeline, pixel_frames
from steady_jax.run import command_line
from steady_jax.run.command_line import usage_errors
from steady_jax.run.files import make_folder_of
from steady_jax.run.prompts import read_prompts, video_name
from steady_jax.run.recording import Video, record
from steady_jax.run.sidecar import versions

MODELS_WITHOUT_CHECKPOINT = ("tiny",)


def main(config: ConfigDict, check: Callable[[], None]) -> None:
    """Checks everything that was asked for, encodes all prompts, then makes one video after the other."""
    with usage_errors():
        prompts = read_prompts(config.prompt, config.prompt_file)
        frames = pixel_frames(config.seconds)
        videos = planned_videos(config, prompts)
        check_weights(config)
        pipeline = SteadyPipeline.from_config(config)
        for prompt in prompts:
            pipeline.stream(
                prompt, config.seconds, config.seed
            )  # checks; nothing is computed before the first frame is taken
            if cut := pipeline.tokenizer.overflow(prompt):
                say(f"note: longer than {pipeline.tokenizer.length} tokens: {prompt[:40]!r}...; this is cut: {cut!r}")

    say(f"encoding {len(prompts)} prompt{'s' if len(prompts) > 1 else ''}")
    embeddings = []
    for prompt in prompts:
        embeddings.append(np.asarray(pipeline.encode(prompt)))  # on the host: there may be thousands
        check()
    pipeline.release_text_encoder()
    for prompt, embedding, video in zip(prompts, embeddings, videos, strict=True):
        say(f"{video.path}  {prompt}")
        settings = {
            "prompt": prompt,
            "seed": config.seed,
            "fps": FRAMES_PER_SECOND,
            "config": config,
            "versions": versions(jax.devices()[0].device_kind),
        }
        blocks = pipeline.stream(embedding, config.seconds, config.seed)
        with usage_errors((OSError,)):  # a full disk, or another process that writes the same video
            timings = record(blocks, video, frames, settings, overwrite=config.overwrite, check=check)
        say(f"wrote {video.path} in {timings['seconds']:.1f} s")


def planned_videos(config: ConfigDict, prompts: list[str]) -> list[Video]:
    """Where each prompt's video will be.

    Raises:
        FileExistsError: lists all that are there already, unless config.overwrite is set.
    """
    numbered = config.prompt_file is not None
    names = [video_name(prompt, config.seed, index if numbered else None) for index, prompt in enumerate(prompts)]
    videos = [
        Video(Path(config.output) / f"{name}.mp4", config.height, config.width, FRAMES_PER_SECOND) for name in names
    ]
    there = [str(file) for video in videos for file in video.files if file.exists()]
    if there and not config.overwrite:
        raise FileExistsError(
            f"{', '.join(there)} exist{'s' if len(there) == 1 else ''}; set --config.overwrite=True to replace, "
            "or choose another --config.output or --config.seed"
        )
    make_folder_of(videos[0].path)
    with tempfile.TemporaryFile(dir=config.output):
        pass  # the folder can be written
    return videos


def check_weights(config: ConfigDict) -> None:
    """Says that the picture will be noise where there is no checkpoint.

    Raises:
        ValueError: the config's model is too large to be looked at with random weights.
    """
    if config.checkpoint is not None:
        return
    if config.model not in MODELS_WITHOUT_CHECKPOINT:
        raise ValueError(
            f"the model {config.model} needs weights: convert them with scripts/convert.py (see README) "
            "and name the folder with --config.checkpoint=FOLDER"
        )
    say("no checkpoint: the weights are random, so the picture is noise; --config.checkpoint=FOLDER names trained ones")


def say(text: str) -> None:
    """Tells the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main, __doc__)
