"""What a program needs on a device, told by the compiler for devices that are not there.

Every program of a training step (or of sampling) is compiled for abstract arguments. While one runs, its arguments,
results and temporaries are not all that a device holds: networks that it does not read lie there too, and the code of
all programs. The largest sum over the programs is what a run needs.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from steady_jax.config import MODELS, known
from steady_jax.program import Program
from steady_jax.train import assembly, build
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.networks import Network
from steady_jax.train.stages.dmd import DMD

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of TPU."""

    name: str  # in a topology: v5e:8x8
    nominal: int  # GB of its data sheet
    usable: float  # GiB that the compiler gives to programs and their arrays


CHIPS = {  # by what JAX calls a device
    "TPU v5 lite": Chip("v5e", 16, 15.75),
    "TPU v5": Chip("v5p", 95, 95.74),
    "TPU v6 lite": Chip("v6e", 32, 31.25),
}


def chip_of(device: jax.Device) -> Chip:
    """The kind of a device.

    Raises:
        ValueError: one whose memory is not known here; lists those that are.
    """
    if device.device_kind not in CHIPS:
        names = ", ".join(chip.name for chip in CHIPS.values())
        raise ValueError(f"a plan is made for {names}, got a topology of {device.device_kind!r}")
    return CHIPS[device.device_kind]


@dataclasses.dataclass(frozen=True)
class Call:
    """A program as it is called. All arrays are abstract and have shardings."""

    program: Program
    arguments: tuple[Any, ...]
    # what lies on the devices then, by name; arrays that are arguments too must be the same objects
    there: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Planned:
    """One program, and bytes on a device while it runs."""

    arguments: int
    results: int  # that do not take the place of an argument
    temporaries: int
    code: int
    beside: Mapping[str, int]  # what lies there and is no argument, by name
    problem: str | None = None  # why it cannot be compiled; what only the compiler knows is 0 then

    @property
    def total(self) -> int:
        """All but code."""
        return self.arguments + self.results + self.temporaries + sum(self.beside.values())


@dataclasses.dataclass(frozen=True)
class Plan:
    """The programs of a run by name."""

    programs: Mapping[str, Planned]
    usable: int  # bytes of a device

    @property
    def code(self) -> int:
        """Of all programs, bytes: it stays loaded."""
        return sum(program.code for program in self.programs.values())

    @property
    def largest(self) -> str:
        """The program during which a device holds most; one that cannot be compiled comes before all others."""
        return max(self.programs, key=lambda name: (self.programs[name].problem is not None, self.programs[name].total))

    @property
    def needed(self) -> int:
        """Bytes on a device while the largest program runs."""
        return self.programs[self.largest].total + self.code

    @property
    def fits(self) -> bool:
        """Whether all programs can be compiled, and what is needed is there."""
        return self.programs[self.largest].problem is None and self.needed <= self.usable


def plan(
    calls: Mapping[str, Call], mesh: Mesh, usable: int, say: Callable[[str, Planned], None] = lambda name, found: None
) -> Plan:
    """Compiles programs one after another.

    Args:
        usable: bytes of a device.
        say: is told what was found of each program, as compiling takes minutes.
    """
    found = {}
    for name, call in calls.items():
        found[name] = planned(call, mesh)
        say(name, found[name])
    return Plan(found, usable)


def planned(call: Call, mesh: Mesh) -> Planned:
    """What the compiler says of a program, or why it has nothing to say."""
    arguments = bytes_of(call.arguments)
    try:
        with jax.set_mesh(mesh):
            memory = call.program.compile(*call.arguments).memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Planned(arguments, 0, 0, 0, beside(call), out_of_memory(str(error)))
    return Planned(
        # the compiler pads some arrays, and leaves those out that a program is given but does not read
        max(arguments, memory.argument_size_in_bytes),
        memory.output_size_in_bytes - memory.alias_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.generated_code_size_in_bytes,
        beside(call),
    )


def beside(call: Call) -> dict[str, int]:
    """Bytes on a device of what lies there and is no argument, by name."""
    read = {id(leaf) for leaf in jax.tree.leaves(call.arguments)}
    rest = {
        name: bytes_of([leaf for leaf in jax.tree.leaves(tree) if id(leaf) not in read])
        for name, tree in call.there.items()
    }
    return {name: size for name, size in rest.items() if size}


def out_of_memory(message: str) -> str:
    """The compiler's error in one line, with how much is too much."""
    line = message.removeprefix("RESOURCE_EXHAUSTED: ").strip().splitlines()[0]
    found = re.search(r"\(([\d.]+)G\) exceeds available HBM \(([\d.]+)G\)", line)
    if found is None:
        return line
    needed, there = float(found[1]), float(found[2])
    return f"needs {needed:.2f} of {there:.2f} GiB, {needed - there:.2f} too much"


def bytes_of(tree: Any) -> int:
    """Bytes on one device of abstract arrays with shardings, without the padding of their layout."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def distillation(config: ConfigDict, mesh: Mesh) -> DMD:
    """The stage of a config, for `calls_of`. No weights are loaded, and no folder, prompt or tokenizer is needed.

    Args:
        config: of `scripts/train.py`; its attention backend is named, as "auto" would mean that of this machine.
    Raises:
        ValueError: another stage, or settings that do not fit each other or the devices.
    """
    if config.stage not in ("dmd", "redmd"):
        raise ValueError(f"a plan is made of the stages dmd and redmd, and of sampling, got {config.stage!r}")
    return build.distillation(_Folderless(config, mesh))


def calls_of(stage: DMD) -> dict[str, Call]:
    """The programs of a step, and what lies on the devices all through it."""
    state = stage.abstract()
    frozen = {name: network.abstract(stage.mesh) for name, network in stage.frozen.networks.items()}
    there = {
        f"{name} {field.name}": getattr(trained, field.name)
        for name, trained in state.networks.items()
        for field in dataclasses.fields(trained)
    }
    return {
        name: Call(program, arguments, {**there, **frozen, "held meanwhile": held})
        for name, (program, arguments, held) in stage.abstract_calls(state, frozen).items()
    }


class _Folderless(assembly.Build):
    """Parts of a stage whose sizes come from the config where no folder is named. Data and tokenizer are left out."""

    def __init__(self, config: ConfigDict, mesh: Mesh) -> None:
        self.config, self.mesh = config, mesh
        self.frozen = Frozen({name: self.network(name) for name in self._frozen_names()}, mesh)
        self.encoders = Encoders(self.frozen, None)

    def network(self, name: str) -> Network:
        if self.config[name]:
            return super().network(name)
        model = known(self.config.teacher_model if name == "teacher" else self.config.model, MODELS, "model")
        part = "dit" if name == "teacher" else name
        sizes = self._computing(getattr(model, part), trained=False)
        return Network(assembly.KINDS[part], sizes, part, dtype=self.config.dtype)

    def sample_prompts(self) -> tuple[str, ...]:
        """None: videos are not planned."""
        return ()

    def _frozen_names(self) -> list[str]:
        """Networks that lie on the devices in every step. Embeddings in the data need no text encoder."""
        config = self.config
        sees_pixels = config.stage == "redmd" or config.rollout_frames > config.clip_frames
        texts = [] if config.data.kind == "shards" else ["text_encoder"]
        return ["teacher", *(["vae"] if sees_pixels else []), *texts]
