"""Rewards of clips, by which Re-DMD weighs items: on the device, or any Python function on the host."""

import importlib
import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from steady_jax import parallel
from steady_jax.program import Program
from steady_jax.shapes import Array, Float, UInt8
from steady_jax.train.motion import MotionReward
from steady_jax.train.together import Together

__all__ = ["HostReward", "MotionReward", "Reward", "Rewards", "host_reward"]


@runtime_checkable
class Reward(Protocol):
    """A number for each clip, larger is better; a clip's number does not depend on the others of its batch."""

    on_host: bool  # called with numpy arrays; else compiled

    def __call__(self, frames: UInt8[Array | np.ndarray, "b f height width rgb"]) -> Float[Array | np.ndarray, "b"]:
        """Of pixel frames, 0..255."""
        ...


class HostReward:
    """A Python function as a reward: from frames uint8 [b, f, height, width, 3] in numpy to b numbers."""

    on_host = True

    def __init__(self, function: Callable[[np.ndarray], Any], name: str) -> None:
        """Args: name: of the function, in errors."""
        self.function, self.name = function, name

    def __call__(self, frames: UInt8[Array | np.ndarray, "b f height width rgb"]) -> Float[np.ndarray, "b"]:
        """Calls the function.

        Raises:
            ValueError: it gave something else than one finite number for each clip.
        """
        given = self.function(np.asarray(frames))
        try:
            numbers = np.asarray(given, np.float32)
        except (TypeError, ValueError):
            numbers = None
        if numbers is None or numbers.shape != frames.shape[:1] or not np.all(np.isfinite(numbers)):
            raise ValueError(
                f"a reward gives one finite number for each clip; {self.name} got {len(frames)} clips and gave "
                f"{given!r}"
            )
        return numbers


def host_reward(name: str) -> HostReward:
    """The reward that "MODULE:FUNCTION" names, for example "my_lab.rewards:sharpness".

    Raises:
        ValueError: another form, a module that cannot be imported, or no such function in it.
    """
    form = 'a reward is "MODULE:FUNCTION", of a module that Python finds (installed, or in a folder of PYTHONPATH)'
    module, colon, function = name.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"{form}, got {name!r}")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise ValueError(f"{form}; importing {module!r} of {name!r} failed: {error}") from error
    if not callable(found):
        raise ValueError(f"{form}; {module!r} has no function {function!r}")
    return HostReward(found, name)


class Rewards:
    """Rewards of batches that are cut over a mesh, in one process or many.

    A reward on the device is one program, compiled for the shapes of the first batch. One on the host is called at most
    once per batch in each process, with those of its items that no other process is called with.
    """

    def __init__(self, reward: Reward, mesh: Mesh) -> None:
        self._reward, self._mesh = reward, mesh
        items = P(parallel.BATCH)
        if reward.on_host:
            self._together = Together(mesh)
            self._replicas = tuple(axis for axis in mesh.axis_names if axis not in parallel.BATCH)
            function = _summed
        else:
            # each device has whole clips of its own; nothing is exchanged. check_vma off: as in parallel.per_device
            function = jax.shard_map(reward, mesh=mesh, in_specs=items, out_specs=items, check_vma=False)
        self._program = Program(function, results=parallel.batch_sharding(mesh))

    def __call__(self, frames: UInt8[Array, "b f height width rgb"]) -> Float[Array, "b"]:
        """Rewards of clips, cut over the mesh as they are. All processes call it at the same place of the program.

        Args:
            frames: of all processes, cut over items by `parallel.batch_sharding`.
        Raises:
            ValueError: frames are cut otherwise, or what `HostReward` raises.
            RuntimeError: the function failed in another process.
        """
        if not self._reward.on_host:
            return self._program(frames)
        if not frames.sharding.is_equivalent_to(parallel.batch_sharding(self._mesh), frames.ndim):
            raise ValueError(
                f"frames must be cut over items by parallel.batch_sharding, got {frames.sharding}; put them there with "
                "jax.device_put"
            )
        with self._together.one_fate():
            numbers = self._of_own_items(frames)
        return self._program(self._spread(numbers, len(frames)))

    def _of_own_items(self, frames: Array) -> dict[int, np.ndarray]:
        """Numbers of the pieces of the batch whose first replica lies in this process, by their first item."""
        axes = self._mesh.axis_names
        first = self._mesh.devices[tuple(0 if axis in self._replicas else slice(None) for axis in axes)]
        shards = [shard for shard in frames.addressable_shards if shard.device in first.flat]
        if not shards:
            return {}
        pieces = [np.asarray(shard.data) for shard in shards]
        numbers = np.asarray(self._reward(np.concatenate(pieces)), np.float32)
        cut = np.split(numbers, np.cumsum([len(piece) for piece in pieces])[:-1])
        return {_start(shard.index[0]): own for shard, own in zip(shards, cut, strict=True)}

    def _spread(self, numbers: dict[int, np.ndarray], items: int) -> Float[Array, "replicas b"]:
        """The numbers of each item's first replica and zeros for the others, so that all devices get the same sum."""
        replicas = math.prod(self._mesh.shape[axis] for axis in self._replicas)

        def piece(index: tuple[slice, slice]) -> np.ndarray:
            row, columns = index
            if _start(row) == 0:
                return numbers[_start(columns)][None]
            return np.zeros((1, len(range(items)[columns])), np.float32)

        where = NamedSharding(self._mesh, P(self._replicas, parallel.BATCH))
        return jax.make_array_from_callback((replicas, items), where, piece)


def _start(places: slice) -> int:
    return places.start or 0


def _summed(rows: Float[Array, "replicas b"]) -> Float[Array, "b"]:
    return jnp.sum(rows, axis=0)
