"""Measures saving and going on: python scripts/benchmark_states.py --config=configs/tiny.py

Takes the configs of sample.py; --config.seconds is the length of the video before the state. Prints one JSON with sizes
and seconds, and whether the next block is the same, bit for bit.
"""

import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benchmark import random_embeddings
from ml_collections import ConfigDict

from steady_jax.pipeline import SteadyPipeline
from steady_jax.run import command_line
from steady_jax.run.command_line import usage_errors
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.sidecar import plain, versions
from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.session import Session


def main(config: ConfigDict, interrupt: Interrupt) -> None:
    """Makes a video, saves it in both forms, and goes on from each."""
    with usage_errors():
        pipeline = SteadyPipeline.from_config(config)
    embeddings, seconds = random_embeddings(pipeline.model.dit), config.seconds or 5.0
    session = pipeline.session(embeddings, endless=True, lookahead=False, keep_latents=True)
    while session.frames < FRAMES_PER_SECOND * seconds:
        next(session)
        interrupt.check()
    report: dict[str, Any] = {"blocks": session.block, "pixel_frames": session.frames}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        states = {"whole": Path(folder) / "whole", "compact": Path(folder) / "compact"}
        for form, path in states.items():
            report[form] = {
                "save_seconds": seconds_of(functools.partial(session.save, path, compact=form == "compact"))[0]
            }
            report[form]["bytes"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        expected = next(session)
        del session
        for form, path in states.items():
            for run in ("first", "second"):  # the first one compiles
                took, restored = seconds_of(functools.partial(pipeline.restore, path, lookahead=False))
                report[form][f"restore_seconds_{run}"] = took
            report[form]["next_block_is_the_same"] = bool(np.array_equal(next(restored), expected))
            del restored
    report["versions"] = versions(jax.devices()[0].device_kind)
    json.dump(plain({"config": config, **report}), sys.stdout, indent=2)
    sys.stdout.write("\n")


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of some work, and its result, whose arrays are waited for."""
    start = time.perf_counter()
    result = work()
    if isinstance(result, Session):
        jax.block_until_ready(result.live)
    return time.perf_counter() - start, result


if __name__ == "__main__":
    command_line.run(main, __doc__)
