r"""Trains one stage, or writes what a stage reads: see docs/training.md.

    python scripts/train.py --config=configs/distill_steady_1_3b.py --config.workdir=runs/steady \
        --config.init=checkpoints/reward-1.3b --config.critic=... --config.teacher=... --config.text_encoder=...

The same command goes on from the newest checkpoint of the folder. Ctrl-C and SIGTERM save before they end.
"""

import json
import sys
from pathlib import Path

import jax
from ml_collections import ConfigDict

from steady_jax import parallel
from steady_jax.data.records import Contents
from steady_jax.data.sources import open_items
from steady_jax.parts import part_of
from steady_jax.run import command_line
from steady_jax.run.command_line import UsageError, usage_errors
from steady_jax.run.files import replacing
from steady_jax.run.interrupt import Interrupt, Stopped
from steady_jax.run.progress import RECORDS, Progress
from steady_jax.train import build, workdir
from steady_jax.train.config import WRITING
from steady_jax.train.tokenizer import write_tokenizer
from steady_jax.train.trainer import train
from steady_jax.train.workdir import HOW_IT_RUNS, Workdir
from steady_jax.train.write_records import write_all


def main(config: ConfigDict, interrupt: Interrupt) -> None:
    if not config.workdir:
        raise UsageError("name the folder of the run: --config.workdir=FOLDER")
    if config.stage == "tokenizer":
        learn_tokenizer(config)
    elif config.stage == "compare":
        compare(config)
    elif config.stage in WRITING:
        write(config, interrupt)
    else:
        run(config, interrupt)


def run(config: ConfigDict, interrupt: Interrupt) -> None:
    """Trains a network."""
    with usage_errors():
        parallel.join(config.join)
        interrupt.listen()  # again: joining gives SIGTERM to JAX
        mesh = build.mesh_of(config)
        built = build.training(config, mesh)
        inputs = build.inputs(config)
    sys.stderr.write(f"{config.stage} on {mesh.size} x {jax.devices()[0].device_kind}\n")
    for name, learner in built.stage.setup.learners.items():
        sys.stderr.write(f"{name} begins with {learner.network.folder or 'random weights'}\n")
    schedules = [config[name].schedule for name in ("optimiser", "critic_optimiser") if name in config]
    # a run can be made longer where nothing of it depends on its length
    free = (*HOW_IT_RUNS, *(["train_steps"] if set(schedules) == {"constant"} else []))
    made_from = {**config.to_dict(), "inputs": inputs}
    with usage_errors():
        workdir.check(Workdir(Path(config.workdir)), made_from, free)
    try:
        with usage_errors((FloatingPointError, OSError)):
            train(built.stage, built.batches, built.settings, config.workdir, made_from, interrupt, free=free)
    except Stopped:
        parallel.leave()  # or the first process to end takes the others with it
        raise


def write(config: ConfigDict, interrupt: Interrupt) -> None:
    """Writes shards of records into the folder of the run."""
    with usage_errors():
        part = part_of(config.part)
        mesh = build.mesh_of(config)
        make, items = {"encode": build.encoding, "ode_pairs": build.pairing}[config.stage](config, mesh)
        settings = {key: value for key, value in config.to_dict().items() if key not in ("workdir", "part", "batch")}
        contents = Contents(make.fields(items), config.records, config.records_per_shard, settings)
    share = sum(len(contents.numbers(shard)) for shard in range(part[0], contents.shards, part[1]))
    with Progress(share, unit=RECORDS) as progress, jax.set_mesh(mesh), usage_errors():
        options = {"batch": config.batch, "part": part, "progress": progress, "interrupt": interrupt}
        whole = write_all(config.workdir, contents, items, make, **options)
        progress.say(f"{config.workdir} {'is whole' if whole else 'waits for the shards of other processes'}")


def compare(config: ConfigDict) -> None:
    """Prints how near students come to their teacher, and writes it to distances.json in the folder of the run."""
    file = Path(config.workdir) / "distances.json"
    with usage_errors():
        if file.exists():
            raise UsageError(f"{file} exists and is never overwritten; name another folder")
        file.parent.mkdir(parents=True, exist_ok=True)  # or a wrong name would be found out at the end
        mesh = build.mesh_of(config)
        comparison, prompts = build.comparing(config, mesh)
    with jax.set_mesh(mesh):
        found = comparison(prompts, config.each, config.batch, lambda text: sys.stderr.write(f"{text}\n")).report()
    with replacing(file) as partial:
        partial.write_text(json.dumps({"config": config.to_dict(), "energy distance": found}, indent=1))
    for name, row in found.items():
        low, high = row["interval"]
        print(f"{name}: {row['mean']:.4f} ({low:.4f} to {high:.4f}, {row['prompts']} prompts)")


def learn_tokenizer(config: ConfigDict) -> None:
    """Writes a tokenizer learnt from the data's prompts as a checkpoint folder."""
    with usage_errors():
        if Path(config.workdir).exists():
            raise UsageError(f"{config.workdir} exists and is never overwritten; name another folder")
        items = open_items(build.prompts_of(config))
        prompts = (str(items[number]["prompt"]) for number in range(min(config.prompts, len(items))))
        pieces = write_tokenizer(config.workdir, prompts, config.vocabulary)
    sys.stderr.write(f"{config.workdir} holds a tokenizer of {pieces} pieces\n")


if __name__ == "__main__":
    command_line.run(main, __doc__)
