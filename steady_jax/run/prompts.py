"""The prompts of a run, and the names of their videos."""

import re
from pathlib import Path

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
    lines = [prompt] if prompt is not None else _lines(Path(prompt_file))
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"a prompt must not be empty, got {prompt_file or repr(prompt)} without any text")
    return prompts


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()  # some editors begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"a prompt file is UTF-8 text, but {file} is not ({error}); save it as UTF-8") from error


def video_name(prompt: str, seed: int, index: int | None = None) -> str:
    """A file name from the prompt's first words and the seed; index is the prompt's place in a file of prompts."""
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")
    if len(words) > LONGEST_NAME:
        words = words[: LONGEST_NAME + 1].rpartition("-")[0] or words[:LONGEST_NAME]
    number = "" if index is None else f"{index:04d}-"
    return f"{number}{words or 'video'}-seed{seed}"
