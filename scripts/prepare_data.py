"""Writes shards for training from prompts or clips, wherever they lie.

    python scripts/prepare_data.py --destination=data/prompts --prompts=gs://bucket/prompts.txt
    python scripts/prepare_data.py --destination=data/clips --clips=s3://bucket/clips --frames=9 --height=64 --width=64
    python scripts/prepare_data.py --destination=data/clips --manifest=clips.tsv --frames=9 --height=64 --width=64

Local paths are read by Python itself. Names with a scheme (s3, gs, hdfs, az, http, https) are read by TensorFlow and
tensorflow-io, which need an environment of their own; docs/data.md says how to make it. The same command goes on where
an earlier one stopped; what is written is not written again.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import app, flags

from steady_jax.data import prepare
from steady_jax.parts import part_of
from steady_jax.prompt_file import prompts_in

_PROMPTS = flags.DEFINE_string("prompts", None, "A file of prompts, one per line.")
_CLIPS = flags.DEFINE_string("clips", None, "A folder of clips. http has no folders: give a manifest.")
_MANIFEST = flags.DEFINE_string("manifest", None, "A file that names clips, one per line: NAME, or NAME, tab, caption.")
_DESTINATION = flags.DEFINE_string("destination", None, "Local folder for the shards.", required=True)
_FRAMES = flags.DEFINE_integer("frames", None, "Frames of a piece, at 16 per second.", lower_bound=1)
_HEIGHT = flags.DEFINE_integer("height", None, "Pixels.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", None, "Pixels.", lower_bound=1)
_PIECES = flags.DEFINE_integer("pieces", 1, "How many pieces are taken of each clip.", lower_bound=1)
_RECORDS_PER_SHARD = flags.DEFINE_integer("records_per_shard", 256, "Prompts or pieces in one file.", lower_bound=1)
_PART = flags.DEFINE_string("part", None, "The part of the shards to write: 0/2 and 1/2 in two processes; auto.")


def main(argv: list[str]) -> None:
    given = [name for name in ("prompts", "clips", "manifest") if flags.FLAGS[name].value is not None]
    if len(argv) > 1 or len(given) != 1:
        raise app.UsageError(f"give one of --prompts, --clips and --manifest, got {' and '.join(given) or 'none'}")
    sizes = (_FRAMES.value, _HEIGHT.value, _WIDTH.value)
    if given != ["prompts"] and None in sizes:
        raise app.UsageError("clips need --frames, --height and --width")
    if given == ["prompts"] and (sizes != (None, None, None) or _PIECES.value != 1):
        raise app.UsageError("--frames, --height, --width and --pieces are for clips")
    try:
        _write(part_of(_PART.value))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def _write(part: tuple[int, int]) -> None:
    files = AnyFiles()
    to = (_DESTINATION.value, _RECORDS_PER_SHARD.value, part)
    if _PROMPTS.value is not None:
        prepare.write_prompts(prompts_in(files.read(_PROMPTS.value), _PROMPTS.value), *to)
        return
    clips = prepare.clips_in(_CLIPS.value, files) if _CLIPS.value else prepare.clips_listed(_MANIFEST.value, files)
    cut = prepare.Cut(_FRAMES.value, _HEIGHT.value, _WIDTH.value, _PIECES.value)
    prepare.write_clips(clips, files, cut, *to)


class AnyFiles:
    """Local files, and by TensorFlow, imported with the first of them, those whose names have a scheme."""

    def read(self, name: str) -> bytes:
        return TensorFlowFiles(name).read(name) if "://" in name else Path(name).read_bytes()

    def copy(self, name: str, to: Path) -> None:
        if "://" in name:
            TensorFlowFiles(name).copy(name, to)
        else:
            shutil.copyfile(name, to)

    def names_in(self, folder: str) -> Iterable[str]:
        return TensorFlowFiles(folder).names_in(folder) if "://" in folder else os.listdir(folder)


class TensorFlowFiles:
    """Files that TensorFlow reaches, its errors as those of Python."""

    def __init__(self, name: str) -> None:
        """Args: name: what asks for it, for the error where it is not installed."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # it greets with warnings about GPUs
        try:
            import tensorflow as tf
            import tensorflow_io  # noqa: F401  registers its file systems
        except ImportError as error:
            raise ValueError(
                f"{name} is read by tensorflow-io, which is not installed here ({error}); make the environment that "
                "docs/data.md describes, or copy the files here"
            ) from error
        self._tf = tf

    def read(self, name: str) -> bytes:
        def content() -> bytes:
            with self._tf.io.gfile.GFile(name, "rb") as file:
                return file.read()

        return self._asked(name, content)

    def copy(self, name: str, to: Path) -> None:
        self._asked(name, lambda: self._tf.io.gfile.copy(name, str(to), overwrite=True))

    def names_in(self, folder: str) -> list[str]:
        if folder.startswith(("http://", "https://")):
            raise ValueError(f"http lists no folders, got {folder}; name its clips in a file and give --manifest=FILE")
        names = self._asked(folder, lambda: self._tf.io.gfile.listdir(folder))
        return [name for name in names if not name.endswith("/")]  # object stores end folders so

    def _asked(self, name: str, what: Any) -> Any:
        errors = self._tf.errors
        try:
            return what()
        except errors.NotFoundError as error:
            raise FileNotFoundError(f"{name} cannot be read: {first_line(error.message)}") from error
        except errors.UnimplementedError as error:
            raise ValueError(f"{name}: {error.message}; TensorFlow knows s3, gs, hdfs, az, http and https") from error
        except errors.OpError as error:
            hint = ""
            if "(23)" in error.message:  # curl: more came than was asked for
                hint = "; the server must answer requests for ranges of bytes, at least for files above 512 KiB"
            raise OSError(f"{name} cannot be read: {first_line(error.message)}{hint}") from error


def first_line(message: str) -> str:
    """The first line of an error; web servers send pages behind it."""
    return message.strip().splitlines()[0] if message.strip() else "no reason given"


if __name__ == "__main__":
    app.run(main)
