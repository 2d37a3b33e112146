"""Writers of small videos, here and in child processes."""

import inspect
import subprocess
import sys
from pathlib import Path

import helpers_video
from helpers_process import start
from helpers_video import HEIGHT, WIDTH

from steady_jax.run.writer import VideoWriter

REPOSITORY = Path(__file__).parents[1]
MOVING = "import numpy as np\nfrom steady_jax.run.writer import VideoWriter\n" + inspect.getsource(helpers_video.moving)


def writer(path, **settings):
    """A writer of videos of the helpers' size."""
    return VideoWriter(path, **({"height": HEIGHT, "width": WIDTH} | settings))


def child(code, *arguments):
    """A child that runs `code`, which knows np, VideoWriter and moving."""
    command = [sys.executable, "-c", MOVING + code, *map(str, arguments)]
    return start(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
