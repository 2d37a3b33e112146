"""Run as a program: makes a tiny video of the given seconds and prints its peak memory as JSON.

The peak is the process's own (VmHWM), counted anew after a first short video has compiled and touched everything.
"""

import json
import sys
from pathlib import Path

import jax

from steady_jax.config import MODELS, block_settings, sampling_config
from steady_jax.pipeline import SteadyPipeline
from steady_jax.run.progress import Progress
from steady_jax.run.recording import Recording, Video, record
from steady_jax.scenes import FRAMES_PER_SECOND, pixel_frames
from steady_jax.text import ByteTokenizer

SIZE = 64  # pixels


def main(folder: Path, seconds: float) -> None:
    config = sampling_config("steady", "tiny")
    config.block_frames = 3
    model = MODELS["tiny"].computing_in("float32", "auto")
    settings, tokenizer = block_settings(config), ByteTokenizer(model.dit.text_length)
    pipeline = SteadyPipeline.from_random(model, settings, tokenizer, height=SIZE, width=SIZE)
    film(pipeline, folder / "warm.mp4", 1.0)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    film(pipeline, folder / "measured.mp4", seconds)
    compilations = sum("backend_compile" in event for event in compiled)
    json.dump({"peak_bytes": peak_bytes(), "compilations": compilations}, sys.stdout)


def film(pipeline: SteadyPipeline, path: Path, seconds: float) -> None:
    session = pipeline.session("Waves on a beach", seconds)
    video = Video(path, SIZE, SIZE, FRAMES_PER_SECOND)
    with Progress(pixel_frames(seconds)) as progress:
        record(session, [Recording(video, {"prompt": "Waves on a beach"})], progress)


def peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
