"""Networks of a stage: what they are, where their weights come from, and how they get into their shards."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from steady_jax import checkpoint, parallel, parameters
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.state import Trained, TrainState, begin

CUTS = ("all", "optimiser")


@dataclasses.dataclass(frozen=True)
class Network:
    """One network and the source of its weights."""

    kind: type[nnx.Module]  # WanDiT, WanVAE, UMT5Encoder
    config: Any  # its sizes, and how it computes
    part: str  # its name in checkpoint folders: "dit", "vae", "text_encoder"
    folder: str | None = None  # checkpoint folder; None: random weights
    dtype: str = "float32"  # of the weights
    seed: int = 0  # of random weights

    def check(self) -> None:
        """Raises ValueError if the folder lacks the network, or has it in other sizes. Loads nothing."""
        if self.folder is not None:
            found = checkpoint.describe(self.folder, parts=[self.part])
            checkpoint.check_sizes(found.parts[self.part], self.config, self.folder)

    def abstract(self, mesh: Mesh, cut: bool = True) -> nnx.Module:
        """Shapes, types and shardings of its weights."""
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, self.dtype), parameters.abstract(self.kind, self.config)
        )
        return with_shardings(shapes, parallel.shardings(shapes, mesh, cut))

    def load(self, mesh: Mesh, cut: bool = True) -> nnx.Module:
        """Its weights, made or read straight into their shards."""
        if self.folder is None:
            made = self._random()
            return jax.jit(made, out_shardings=parallel.shardings(jax.eval_shape(made), mesh, cut))()
        return checkpoint.load_component(
            self.folder,
            self.part,
            self.kind,
            self.config,
            dtype=jnp.dtype(self.dtype),
            sharding=lambda path, leaf: parallel.sharding(path, leaf.shape, mesh, cut),
        )

    def _random(self) -> Any:
        def made() -> nnx.Module:
            # the default generator: "rbg" compiles faster, but its numbers depend on how the arrays are cut
            module = self.kind(self.config, rngs=nnx.Rngs(jax.random.key(self.seed)))
            return jax.tree.map(lambda leaf: leaf.astype(self.dtype), module)

        return made


@dataclasses.dataclass(frozen=True)
class Learner:
    """A network that is trained."""

    network: Network
    optimiser: OptimiserSettings
    updates: int  # that the training has in all, for schedules

    def begin(self, weights: nnx.Module) -> Trained:
        """The network before its first update."""
        return begin(weights, self.optimiser.make(self.updates), averaged=self.optimiser.average > 0)


def start(learners: Mapping[str, Learner], mesh: Mesh, cut: str) -> TrainState:
    """The state before the first step, each array made or read straight into its shards.

    Args:
        cut: "all", or "optimiser": weights lie whole on every device, optimiser states and averages are cut.
    """
    state = abstract_state(learners, mesh, cut)

    def begun(name: str) -> Trained:
        wanted = jax.tree.map(lambda leaf: leaf.sharding, state.networks[name])
        weights = learners[name].network.load(mesh, cut == "all")
        return jax.jit(learners[name].begin, out_shardings=wanted, donate_argnums=0)(weights)

    step = jax.jit(lambda: jnp.zeros((), jnp.int32), out_shardings=parallel.replicated(mesh))()
    return TrainState(step, {name: begun(name) for name in learners})


def abstract_state(learners: Mapping[str, Learner], mesh: Mesh, cut: str) -> TrainState:
    """Shapes, types and shardings of `start`'s state. Computes nothing.

    Raises:
        ValueError: an unknown cut.
    """
    if cut not in CUTS:
        raise ValueError(f"cut must be one of {', '.join(CUTS)}, got {cut!r}")

    def of(learner: Learner) -> Trained:
        weights = learner.network.abstract(mesh, cut == "all")
        whole = jax.eval_shape(learner.begin, weights)
        rest = dataclasses.replace(whole, weights=None)
        return dataclasses.replace(with_shardings(rest, parallel.shardings(rest, mesh)), weights=weights)

    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=parallel.replicated(mesh))
    return TrainState(step, {name: of(learner) for name, learner in learners.items()})


def with_shardings(shapes: Any, shardings: Any) -> Any:
    """Abstract arrays with their places."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def laid_out(tree: Any) -> Any:
    """Says to the compiler that a tree by parameters' paths (gradients, their sums) is cut as parameters are."""
    mesh = parallel.mesh_in_use()
    if mesh is None:
        return tree
    specs = jax.tree.map(lambda sharding: sharding.spec, parallel.shardings(tree, mesh))
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, specs)


def whole(vae: Any) -> Any:
    """Says to the compiler that every device computes with all weights of a VAE.

    They are few, and a device has whole clips. Left to itself, the compiler cuts activations by the weights' channels
    where other axes than those of the batch cut these too, and moves them back and forth between layers.
    """
    if parallel.mesh_in_use() is None:
        return vae
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec()), vae)
