"""The prompts of a run, and the names of their videos."""

import re
from pathlib import Path

from steady_jax.prompt_file import prompts_in

LONGEST_NAME = 60  # characters of a prompt in a file name


def read_prompts(prompt: str | None, prompt_file: str | None, scenes: str | None = None) -> list[str]:
    """The prompts of a run: one text, or the lines of a UTF-8 file (empty lines are left out).

    Args:
        scenes: a scene file, which somebody else reads: then there are none.
    Raises:
        ValueError: not exactly one of them is given, or there is no text.
        OSError: the file cannot be read.
    """
    given = {"prompt": prompt, "prompt_file": prompt_file, "scenes": scenes}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise ValueError(
            'give one of --config.prompt="...", --config.prompt_file=FILE and --config.scenes=FILE, '
            f"got {' and '.join(names) or 'none'}"
        )
    if scenes is not None:
        return []
    if prompt_file is not None:
        return prompts_in(Path(prompt_file).read_bytes(), prompt_file)
    if not prompt.strip():
        raise ValueError(f"a prompt must not be empty, got {prompt!r} without any text")
    return [prompt.strip()]


def video_name(prompt: str, seed: int, index: int | None = None) -> str:
    """A file name from the prompt's first words and the seed; index is the prompt's place in a file of prompts."""
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")
    if len(words) > LONGEST_NAME:
        words = words[: LONGEST_NAME + 1].rpartition("-")[0] or words[:LONGEST_NAME]
    number = "" if index is None else f"{index:04d}-"
    return f"{number}{words or 'video'}-seed{seed}"
