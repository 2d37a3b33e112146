"""A stage small enough to train a thousand times: linear regression with Adam, cut over a mesh.

Run as a program, it is a process of a training run: python helpers_train.py WORKDIR SETTINGS_AS_JSON.
"""

import dataclasses
import functools
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from steady_jax import orbax_item
from steady_jax.checkpoint import new_folder
from steady_jax.run.interrupt import Interrupt
from steady_jax.train.feeding import part_of_batch
from steady_jax.train.state import TrainState, begin, step_key
from steady_jax.train.trainer import TrainerSettings, train

WIDTH, BATCH, SEED = 8, 8, 5
TRUTH = np.linspace(-1, 1, WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, WIDTH)
MODEL = "weights.npy"


class Line(nnx.Module):
    """y = x w."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.w = nnx.Param(jax.random.normal(rngs.params(), (WIDTH, WIDTH)))


def mesh_of(data: int = 1, fsdp: int = 1, context: int = 1) -> Mesh:
    return jax.make_mesh((data, fsdp, context), ("data", "fsdp", "context"), axis_types=(AxisType.Auto,) * 3)


@dataclasses.dataclass(frozen=True)
class Regression:
    """Learns y = x TRUTH from noisy y; every third step tells a number more."""

    mesh: Mesh
    spoil_at: int | None = None  # this step's loss is infinite, and its gradients are not numbers
    spoil_quietly_at: int | None = None  # this step's numbers are finite, the weights it leaves are not
    clips: int = 1

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return optax.adam(0.05)

    def start(self) -> TrainState:
        return self._started()

    @functools.cached_property
    def _started(self):
        return jax.jit(self._start, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, self.abstract()))

    def abstract(self) -> TrainState:
        def cut(leaf):
            spec = PartitionSpec("fsdp") if leaf.ndim else PartitionSpec()
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(self.mesh, spec))

        return jax.tree.map(cut, jax.eval_shape(self._start))

    def _start(self) -> TrainState:
        line = Line(nnx.Rngs(jax.random.key(SEED)))
        return TrainState(jnp.zeros((), jnp.int32), {"line": begin(line, self.optimiser, averaged=True)})

    def train_step(self, step, state, batch):
        state, metrics = self._step(state, batch)
        if step % 3 == 0:
            metrics["third"] = metrics["loss"] * 3
        return state, metrics

    @functools.cached_property
    def _step(self):
        replicated = NamedSharding(self.mesh, PartitionSpec())
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract())
        return jax.jit(self._stepped, donate_argnums=0, out_shardings=(shardings, replicated))

    def _stepped(self, state, batch):
        trained, done = state.networks["line"], state.step + 1

        def loss_of(weights):
            noise = 0.1 * jax.random.normal(step_key(SEED, state.step), batch["y"].shape)
            loss = jnp.mean(jnp.square(batch["x"] @ weights.w[...] - batch["y"] - noise))
            return loss * jnp.where(done == self.spoil_at, jnp.inf, 1) if self.spoil_at else loss

        loss, gradient = jax.value_and_grad(loss_of)(trained.weights)
        updates, moments = self.optimiser.update(gradient, trained.optimiser)
        weights = optax.apply_updates(trained.weights, updates)
        if self.spoil_quietly_at:
            weights = jax.tree.map(lambda w: w + jnp.where(done == self.spoil_quietly_at, jnp.nan, 0.0), weights)
        average = jax.tree.map(lambda a, w: 0.9 * a + 0.1 * w, trained.average, weights)
        networks = {"line": dataclasses.replace(trained, weights=weights, optimiser=moments, average=average)}
        return TrainState(done, networks), {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}

    @functools.cached_property
    def _error(self):
        return jax.jit(lambda w: jnp.abs(w - TRUTH).max(), out_shardings=NamedSharding(self.mesh, PartitionSpec()))

    def held_out(self, state):
        return {"error": float(self._error(state.networks["line"].weights.w[...]))}

    def samples(self, state):
        pixels = np.zeros((3, 16, 32, 3), np.uint8)
        return {f"clip_{index}": pixels for index in range(self.clips)}

    def export(self, state, folder):
        with new_folder(folder) as draft:
            np.save(draft / MODEL, np.asarray(state.networks["line"].average.w[...]))


def batches(mesh: Mesh, repeat: int | None = None) -> grain.DatasetIterator:
    """This process's rows of batches of 8, shuffled, from 40 items."""
    x = np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float32)
    number, count = part_of_batch(mesh)
    rows = BATCH // count

    def own(batch):
        return {name: array[number * rows : (number + 1) * rows] for name, array in batch.items()}

    items = grain.MapDataset.source([{"x": row, "y": row @ TRUTH} for row in x]).seed(SEED).shuffle().repeat(repeat)
    return iter(items.batch(BATCH).map(own).to_iter_dataset())


def go(
    workdir: Path, settings: TrainerSettings, stage: Regression | None = None, interrupt: Interrupt | None = None
) -> str:
    """Trains, and returns what was shown."""
    stage = stage or Regression(mesh_of())
    shown = io.StringIO()
    config = {"seed": SEED, "rate": 0.05, **dataclasses.asdict(settings)}
    train(
        stage,
        batches(stage.mesh),
        settings,
        workdir,
        config,
        interrupt or Interrupt(),
        free=("steps", "log_every", "save_every", "keep", "held_out_every", "sample_every"),
        stream=shown,
    )
    return shown.getvalue()


def lines(workdir: Path) -> list[dict[str, float]]:
    """The log."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint."""
    folder = workdir / "checkpoints" / str(step)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = orbax_item.shapes(folder).items()
    wanted = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device) for path, leaf in shapes}
    return {path: np.asarray(array) for path, array in orbax_item.read(folder, wanted).items()}


@dataclasses.dataclass(frozen=True)
class Ending(Regression):
    """Is sent a signal while one of its steps runs."""

    end_at: int = 0  # steps done before
    ending: int = signal.SIGTERM
    once_there: Path | None = None  # the signal waits for this file
    like: Regression | None = None  # whose programs are compiled

    @property
    def _step(self):
        return self.like._step

    def train_step(self, step, state, batch):
        if step == self.end_at:
            while self.once_there and not self.once_there.exists():
                time.sleep(0.001)
            os.kill(os.getpid(), self.ending)
        return super().train_step(step, state, batch)


def kill_while_saving(workdir: Path) -> None:
    """Kills this process as soon as a checkpoint that is not the first begins to be written."""
    saved = workdir / "checkpoints"
    while not (any(saved.glob("[0-9]")) and any(saved.glob("*tmp*"))):
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    if devices := asked.get("devices"):
        jax.config.update("jax_num_cpu_devices", devices)
    if join := asked.get("join"):
        jax.distributed.initialize(**join)
    if asked.get("kill_while_saving"):
        threading.Thread(target=kill_while_saving, args=[Path(sys.argv[1])], daemon=True).start()
    told = Interrupt()
    told.listen()
    mesh = mesh_of(*asked.get("mesh", (1, 1)))
    there = Path(asked["once_there"]) if "once_there" in asked else None
    made = Ending(
        mesh,
        end_at=asked.get("end_at", -1),
        ending=asked.get("ending", signal.SIGTERM),
        once_there=there,
        like=Regression(mesh),
    )
    try:
        sys.stdout.write(go(Path(sys.argv[1]), TrainerSettings(**asked["settings"]), made, told))
    except KeyboardInterrupt:
        sys.stdout.write("stopped")
