"""Child processes of tests."""

import subprocess
import sys
from typing import Any

# not preexec_fn: it forks, which JAX warns about
LISTENING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(command: list[str], **settings: Any) -> subprocess.Popen:
    """Starts a child that listens to Ctrl-C, even where this process was told to ignore it (as in the background)."""
    return subprocess.Popen([sys.executable, "-c", LISTENING, *command], text=True, **settings)
