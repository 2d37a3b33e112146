"""Measures the tiny model on fresh prompts: python scripts/evaluate_tiny.py --config=configs/evaluate_tiny.py

For each kind of scene it makes videos from several sources (procedural clips, their reconstructions, the teacher, the
student with its memory and with a plain window), lets the classifier name them, and measures stillness and motion.
What is there already is not made again.
"""

import sys

from ml_collections import ConfigDict

from steady_jax.run import command_line
from steady_jax.run.command_line import usage_errors
from steady_jax.run.interrupt import Interrupt
from steady_jax.trial.trial import Trial


def main(config: ConfigDict, interrupt: Interrupt) -> None:
    """Makes and measures what is missing, and writes the report."""
    with usage_errors():
        trial = Trial(config)
    say(f"wrote {trial(say, interrupt.check)}")


def say(text: str) -> None:
    """Tells the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main, __doc__)
