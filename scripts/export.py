"""Writes the model of a training run as a checkpoint folder, from the newest checkpoint of the run or from another.

    python scripts/export.py --workdir=runs/steady --destination=checkpoints/steady

A run of one process writes WORKDIR/model itself when it ends. This is for runs of several processes, each of which
holds parts of the weights, and for a look at a run that is going on. It runs on one process without an accelerator,
reads the averaged weights alone, and overwrites nothing. --dtype=float16 halves it.
"""

import jax
from absl import app, flags, logging

from steady_jax.train.take_out import take_out

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_DESTINATION = flags.DEFINE_string("destination", None, "Folder to make.", required=True)
_STEP = flags.DEFINE_integer("step", None, "Step of the checkpoint; none: the newest.")
_DTYPE = flags.DEFINE_enum("dtype", None, ["float32", "bfloat16", "float16"], "Of the weights; none: as they are.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    logging.set_verbosity(logging.FATAL)  # orbax reports every array
    jax.config.update("jax_platforms", "cpu")  # writing needs no accelerator, and must not take its memory
    try:
        step = take_out(_WORKDIR.value, _DESTINATION.value, _STEP.value, _DTYPE.value)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"wrote {_DESTINATION.value}, step {step} of {_WORKDIR.value}")


if __name__ == "__main__":
    app.run(main)
