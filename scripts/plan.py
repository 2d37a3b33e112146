r"""Says whether a run fits a TPU slice that is not there: its real programs are compiled for it.

    python scripts/plan.py --config=configs/distill_steady_1_3b.py --topology=v5e:8x8 --mesh.fsdp=8 --mesh.context=8
    python scripts/plan.py --config=configs/steady_1_3b.py --topology=v5e:2x2

The first plans a training step on the whole slice (stages dmd and redmd), the second sampling on one of its chips.
No TPU, weights, data or folders are needed, but TPU's compiler: pip install "jax[tpu]". A topology is a kind of chip
(v5e, v5p, v6e) and the shape of the slice, a multiple of 2x2 chips (v5p has three numbers: 4x4x4). A big program takes
minutes. Ends with status 1 if the run does not fit. What the numbers mean: docs/planning.md.
"""

import functools
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from ml_collections import ConfigDict

from steady_jax import block, parallel, parameters
from steady_jax.config import MODELS, block_settings, known
from steady_jax.engine import Engine
from steady_jax.memory.base import same_scene
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.run import command_line
from steady_jax.run.command_line import UsageError, usage_errors
from steady_jax.run.interrupt import Interrupt
from steady_jax.train.plan import GIB, Call, Plan, Planned, calls_of, chip_of, distillation, plan

TOPOLOGY = "--topology="
DOES_NOT_FIT = 1
COLUMNS = "{:<18}{:>11}{:>9}{:>13}{:>9}{:>9}"


def main(topology: str | None, config: ConfigDict, interrupt: Interrupt) -> None:
    if topology is None:
        raise UsageError(f"name the slice: {TOPOLOGY}v5e:8x8, v5p:4x4x4, v6e:4x4, ...")
    with usage_errors():
        devices = described(topology)
        chip = chip_of(devices[0])
        if config.attention == "auto":
            config.attention = "tpu"
        trains = "stage" in config
        mesh = parallel.make_mesh(config.mesh.to_dict() if trains else {}, devices if trains else devices[:1])
        calls = calls_of(distillation(config, mesh)) if trains else sampling(config, devices[0])
    axes = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    used = f"{mesh.size} chips, {axes}" if trains else "one chip"
    print(f"{topology}: {used}; {chip.usable} GiB usable of {chip.nominal} GB each")
    print(COLUMNS.format("GiB on a chip", "arguments", "results", "temporaries", "beside", "sum"), flush=True)
    made = plan(calls, mesh, int(chip.usable * GIB), row)
    summary(made)
    sys.exit(0 if made.fits else DOES_NOT_FIT)


def described(topology: str) -> list[jax.Device]:
    """The devices of a slice that is not there.

    Raises:
        UsageError: no TPU compiler here, or it does not know the slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError('libtpu is missing, the compiler for TPUs: pip install "jax[tpu]"')
    # the compiler alone is wanted: it must not look for TPUs, here or by asking the cloud
    jax.config.update("jax_platforms", "cpu")
    os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
    try:
        return topologies.get_topology_desc(topology, platform="tpu").devices
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the compiler does not take the topology {topology!r}: {reason}") from error


def sampling(config: ConfigDict, device: jax.Device) -> dict[str, Call]:
    """The programs of sampling on one chip. The text encoder is gone when blocks are made."""
    model = known(config.model, MODELS, "model").computing_in(config.dtype, config.attention)
    settings, place = block_settings(config), jax.sharding.SingleDeviceSharding(device)
    size = {"height": config.height, "width": config.width, "batch": config.batch}
    engine = Engine(model, _not_loaded, settings, **size, device=device)

    def laid(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)

    def network(kind: type[nnx.Module], sizes: Any) -> nnx.Module:
        shapes = parameters.abstract(kind, sizes)
        return laid(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(config.dtype)), shapes))

    def array(*shape: int, dtype: Any = "float32") -> jax.ShapeDtypeStruct:
        return laid(jax.ShapeDtypeStruct(shape, dtype))

    dit, vae = network(WanDiT, model.dit), network(WanVAE, model.vae)
    encoder = network(UMT5Encoder, model.text_encoder)
    rows, columns = engine.latent_size
    empty = functools.partial(block.empty_memory, dit, settings, config.batch, rows, columns)
    memory, cache = laid(jax.eval_shape(empty)), laid(vae.abstract_cache(config.batch, rows, columns))
    text = (model.dit.text_length, model.dit.text_width)
    embeddings, tokens = array(config.batch, *text, dtype=config.dtype), array(1, text[0], dtype="int32")
    prompt = laid(jax.eval_shape(WanDiT.encode_prompt, dit, embeddings))
    latent = array(config.batch, rows, columns, model.dit.channels)
    there = {"transformer": dit, "VAE": vae, "memory": memory, "VAE's cache": cache, "prompt": prompt}
    made = (dit, memory, prompt, array(config.batch, dtype="uint32"), laid(jax.eval_shape(same_scene)))
    return {
        "encode": Call(engine.programs["encode"], (encoder, tokens, tokens), {}),
        "encode_prompt": Call(engine.programs["encode_prompt"], (dit, embeddings), there),
        "block": Call(engine.programs["block"], made, there),
        "decode_first": Call(engine.programs["decode_first"], (vae, latent), _without(there, "VAE's cache")),
        "decode_next": Call(engine.programs["decode_next"], (vae, latent, cache), there),
    }


def row(name: str, found: Planned) -> None:
    """Prints what was found of a program."""
    parts = (found.arguments, found.results, found.temporaries, sum(found.beside.values()), found.total)
    sizes = [f"{part / GIB:.2f}" for part in parts]
    if found.problem:
        sizes[1] = sizes[2] = sizes[4] = "?"
    print(COLUMNS.format(name, *sizes), flush=True)
    if found.problem:
        print(f"  does not compile: {found.problem}", flush=True)


def summary(made: Plan) -> None:
    """Prints the verdict and what the largest program has beside it."""
    largest = made.programs[made.largest]
    lying = ", ".join(f"{name} {size / GIB:.2f}" for name, size in largest.beside.items())
    print(f"beside {made.largest}: {lying or 'nothing'}; code of all programs: {made.code / GIB:.2f}")
    if largest.problem:
        verdict = f"does not fit: {made.largest} {largest.problem}"
    else:
        room = f"{made.needed / GIB:.2f} of {made.usable / GIB:.2f} GiB, while {made.largest} runs"
        verdict = f"fits: {room}" if made.fits else f"does not fit: {room}"
    print(verdict)


def topology_of(argv: list[str]) -> tuple[str | None, list[str]]:
    """The slice that a command line names, and the command line without it."""
    named = [word.removeprefix(TOPOLOGY) for word in argv if word.startswith(TOPOLOGY)]
    return (named[-1] if named else None), [word for word in argv if not word.startswith(TOPOLOGY)]


def _without(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: part for key, part in parts.items() if key != name}


def _not_loaded(name: str) -> nnx.Module:
    raise AssertionError(f"a plan loads no network, {name} was asked for")


if __name__ == "__main__":
    asked, sys.argv = topology_of(sys.argv)
    command_line.run(functools.partial(main, asked), __doc__)
