"""What the tiny chain's distillation does with the sign of its gradient turned round: it must take the student away.

    python tests/measure_flipped.py

after the stages of configs/train_tiny.py, in the same folder. Trains as the stage dmd does but for the sign, into
runs/tiny/flipped, and compares the student with those of dmd and ode_init.
"""

import json
import sys
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parent.parent))

from configs import train_tiny
from steady_jax.run.interrupt import Interrupt
from steady_jax.train import build
from steady_jax.train.stages.dmd import DMD
from steady_jax.train.trainer import train


class Flipped(DMD):
    """Distillation away from the teacher."""

    def _of_generator(self, *args):
        gradients, metrics = super()._of_generator(*args)
        return jax.tree.map(lambda leaf: -leaf, gradients), metrics


def main() -> None:
    config = train_tiny.get_config("dmd")
    config.workdir = str(train_tiny.RUNS / "flipped")
    mesh = build.mesh_of(config)
    built = build.training(config, mesh)
    built.stage.__class__ = Flipped
    train(built.stage, built.batches, built.settings, config.workdir, config, Interrupt())

    config = train_tiny.get_config("compare")
    config.students = (f"flipped={train_tiny.RUNS / 'flipped' / 'model'}", *config.students)
    with jax.set_mesh(mesh):
        comparison, prompts = build.comparing(config, mesh)
        found = comparison(prompts, config.each, config.batch, print).report()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
