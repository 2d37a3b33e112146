"""Files that are there whole or not at all, in folders that are made when they are missing."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def make_folder_of(path: Path) -> None:
    """Creates the folder in which `path` is to lie.

    Raises:
        NotADirectoryError: a file stands where the folder, or one above it, should be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        blocker = next(folder for folder in (path.parent, *path.parent.parents) if folder.exists())
        raise NotADirectoryError(
            f"{path} cannot be written: {blocker} is a file, not a folder; move it or choose another output"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to, renamed to `path` at the end; after an error `path` is as it was."""
    make_folder_of(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # or the new name may outlive a power cut without its content
        os.replace(partial, path)
    except OSError as error:
        error.add_note(f"{path} could not be written; if there was one before, it stays as it was")
        raise
    finally:
        partial.unlink(missing_ok=True)
