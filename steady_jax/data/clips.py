"""Folders of clips with captions, and stretches of clips at the size of a model.

folder/sea.mp4  folder/sea.txt      a clip and its caption, in a file of the same name
folder/captions.jsonl               or all captions in one file: {"file": "sea.mp4", "prompt": "The sea."} per line
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from steady_jax.pictures import Clip, fitted, read_clip
from steady_jax.prompt_file import prompts_in
from steady_jax.scenes import FRAMES_PER_SECOND

SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".m4v", ".avi", ".gif")
CAPTIONS_FILE = "captions.jsonl"


@dataclasses.dataclass(frozen=True)
class CaptionedClip:
    """A clip of a folder, and its caption; None where no clip of the folder has one."""

    clip: Clip
    prompt: str | None


def read_folder(folder: str | Path, frames: int) -> list[CaptionedClip]:
    """The clips of a folder in the order of their names, each decoded once to see that all of it is there.

    Args:
        frames: pixel frames, at 16 per second, that every clip must have at least.

    Raises:
        FileNotFoundError: there is no such folder, or no clip in it.
        ValueError: clips without captions beside clips with one, a caption of no clip, or a clip that is damaged or
            too short.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; name a folder of clips")
    captions = captions_of([file.name for file in folder.iterdir()], lambda name: (folder / name).read_bytes(), folder)
    with ThreadPoolExecutor() as threads:
        clips = list(threads.map(lambda name: read_clip(folder / name), captions))
    for clip in clips:
        check_length(clip, frames)
    return [CaptionedClip(clip, prompt) for clip, prompt in zip(clips, captions.values(), strict=True)]


def captions_of(names: Iterable[str], read: Callable[[str], bytes], folder: object) -> dict[str, str | None]:
    """The clips among the files of a folder, by name, and the captions of all of them, or None for each.

    Args:
        names: of all files of the folder.
        read: gives the content of one of them.
        folder: as errors call it.

    Raises:
        FileNotFoundError: there is no clip.
        ValueError: some clips have a caption and some have none, or a caption belongs to no clip or cannot be read.
    """
    there = set(names)
    clips = sorted(name for name in there if Path(name).suffix.lower() in SUFFIXES)
    if not clips:
        raise FileNotFoundError(f"{folder} holds no clip; a clip is a file that ends in {', '.join(SUFFIXES)}")
    if CAPTIONS_FILE in there:
        captions = _captions_in(read(CAPTIONS_FILE), f"{folder}/{CAPTIONS_FILE}")
    else:
        beside = {name: str(Path(name).with_suffix(".txt")) for name in clips}
        captions = {
            name: " ".join(prompts_in(read(text), f"{folder}/{text}")) for name, text in beside.items() if text in there
        }
    if strangers := sorted(captions.keys() - set(clips)):
        raise ValueError(f"{folder}/{CAPTIONS_FILE} has a caption for {strangers[0]!r}, which is no clip of the folder")
    check_captions([(name, captions.get(name)) for name in clips], folder)
    return {name: captions.get(name) for name in clips}


def check_captions(clips: Sequence[tuple[str, str | None]], where: object) -> None:
    """Raises ValueError unless all clips (name, caption) have a caption, or none has."""
    bare = [name for name, caption in clips if caption is None]
    if bare and len(bare) < len(clips):
        raise ValueError(
            f"all clips have a caption or none has, but {len(bare)} of {len(clips)} in {where} have none: "
            f"{', '.join(bare[:5])}{', ...' if len(bare) > 5 else ''}"
        )


def stretch(clip: Clip, first: int, frames: int, height: int, width: int) -> np.ndarray:
    """Some frames of a clip, resized until they cover a size and cropped evenly: pixels [frames height width 3] uint8.

    Args:
        first: the frame to begin with, counted from 0 at 16 per second.
    """
    taken = itertools.islice(clip.frames_from(first), frames)
    # one by one: a large clip would not fit into memory at its own size
    return np.concatenate([fitted(frame[None], height, width) for frame in taken])


def check_length(clip: Clip, frames: int) -> None:
    """Raises ValueError if a clip is shorter than so many pixel frames."""
    if clip.frames < frames:
        raise ValueError(
            f"a clip has at least {frames} frames at {FRAMES_PER_SECOND} per second, but {clip.path} has "
            f"{clip.frames}; take it out, or ask for fewer frames"
        )


def _captions_in(content: bytes, file: str) -> dict[str, str]:
    captions = {}
    for number, line in enumerate(prompts_in(content, file), 1):
        try:
            found = json.loads(line)
            name, prompt = found["file"], found["prompt"].strip()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'line {number} of {file} is not {{"file": "NAME", "prompt": "..."}}, got {line[:80]!r}'
            ) from error
        if not prompt or name in captions:
            raise ValueError(
                f"line {number} of {file}: {name!r} has {'two captions' if prompt else 'an empty caption'}"
            )
        captions[name] = prompt
    return captions
