"""Turns PyTorch files into one checkpoint folder, or writes the transformer of a checkpoint folder as a PyTorch file.

    python scripts/convert.py --source=Wan-AI/Wan2.1-T2V-1.3B --source=steady_forcing_t2v.pt --destination=steady
    python scripts/convert.py --source=steady --export=student.pt

A source is a folder in the original or the diffusers layout, one file, or a name on the Hugging Face hub. Of two
sources that hold the same part, the later one wins. Everything is checked before anything is written, and nothing is
overwritten.
"""

from pathlib import Path

import jax
from absl import app, flags, logging

try:
    from converters import convert, student
    from converters.export import export_dit
except ModuleNotFoundError as missing:
    raise SystemExit(f'error: {missing.name} is not installed; pip install -e ".[convert]" brings it') from missing
from steady_jax import checkpoint
from steady_jax.checkpoint import PARTS

_SOURCE = flags.DEFINE_multi_string(
    "source", None, "Folder, file or hub name; repeat it to combine several.", required=True
)
_DESTINATION = flags.DEFINE_string("destination", None, "Folder to make.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", student.CHOICES, "Weights to take from a student file.")
_PARTS = flags.DEFINE_list("parts", list(PARTS), "Parts the folder is to hold.")
_EXPORT = flags.DEFINE_string(
    "export", None, "PyTorch file to write from a checkpoint folder: .safetensors, .pt or .pth."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1 or (_DESTINATION.value is None) == (_EXPORT.value is None):
        raise app.UsageError("give --source, and one of --destination and --export")
    logging.set_verbosity(logging.WARNING)  # orbax reports every parameter otherwise
    jax.config.update("jax_platforms", "cpu")  # conversion needs no accelerator, and must not take its memory
    try:
        if _EXPORT.value:
            _export()
        else:
            _convert()
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def _convert() -> None:
    convert.check_parts(_PARTS.value)
    checkpoint.check_new(_DESTINATION.value)  # before anything is downloaded
    sources = [convert.look_into(convert.locate(name), _WEIGHTS.value) for name in _SOURCE.value]
    plan = convert.make_plan(sources, _WEIGHTS.value, _PARTS.value)
    convert.write(plan, Path(_DESTINATION.value))
    print(f"wrote {_DESTINATION.value}")


def _export() -> None:
    if len(_SOURCE.value) != 1:
        raise app.UsageError("--export takes one --source, a checkpoint folder")
    export_dit(Path(_SOURCE.value[0]), Path(_EXPORT.value))
    print(f"wrote {_EXPORT.value}")


if __name__ == "__main__":
    app.run(main)
