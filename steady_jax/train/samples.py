"""Clips that show how far a run is: WORKDIR/samples/STEP/NAME.mp4, and NAME.png with frames of it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from steady_jax.run.sheet import contact_sheet
from steady_jax.run.writer import VideoWriter
from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.shapes import UInt8


def write_samples(folder: Path, clips: Mapping[str, UInt8[np.ndarray, "f height width rgb"]]) -> None:
    """Writes clips into a new folder, which is there whole or not at all.

    Args:
        folder: not there yet.
        clips: pixels, by name.
    """
    draft = folder.with_name(f"{folder.name}.incomplete")
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    draft.mkdir(parents=True)
    for name, pixels in clips.items():
        height, width = pixels.shape[1:3]
        with VideoWriter(draft / f"{name}.mp4", height=height, width=width, fps=FRAMES_PER_SECOND) as video:
            video.write(pixels)
        contact_sheet(pixels, draft / f"{name}.png", fps=FRAMES_PER_SECOND)
    draft.rename(folder)
