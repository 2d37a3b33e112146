"""Child processes of tests."""

import signal
import subprocess
from typing import Any


def start(command: list[str], **settings: Any) -> subprocess.Popen:
    """Starts a child that listens to Ctrl-C, even where this process was told to ignore it (as in the background)."""
    return subprocess.Popen(
        command, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **settings
    )
