"""One process of several that reward the same batch, prints what it saw as JSON.

JAX_PLATFORMS=cpu python -m check_rewards '{"rank": 0, "port": 8476, "across": "data"}'
"""

import json
import sys

import jax
import numpy as np
from helpers_motion import drift

from steady_jax import parallel
from steady_jax.train.rewards import HostReward, MotionReward, Rewards

SHAPE = (8, 5, 16, 16, 3)
PROCESSES, DEVICES = 2, 4


def clips():
    """Each moves at its own speed, in heights per second."""
    return np.stack([drift(speed, *SHAPE[1:4], finest=16) for speed in np.linspace(0.8, 0.0, SHAPE[0])])


def mesh_across(axis):
    """data 2, fsdp 2, context 2, where the processes differ along one axis."""
    devices = np.reshape(jax.devices(), (PROCESSES, 2, 2))
    at = {"data": (0, 1, 2), "context": (1, 2, 0)}[axis]
    return parallel.make_mesh({"data": 2, "fsdp": 2, "context": 2}, list(devices.transpose(at).flat))


def rewarded(rewards, frames):
    """This process's numbers, by item; the same on all devices that have the item."""
    found = rewards(frames)
    assert found.sharding.is_equivalent_to(frames.sharding, 1)
    seen = {}
    for shard in found.addressable_shards:
        for item, number in zip(range(SHAPE[0])[shard.index[0]], np.asarray(shard.data).tolist(), strict=True):
            assert seen.setdefault(item, number) == number
    return seen


def main(rank, port, across):
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.distributed.initialize(f"127.0.0.1:{port}", PROCESSES, rank)
    mesh = mesh_across(across)
    all_frames = clips()
    where = parallel.batch_sharding(mesh)
    frames = jax.make_array_from_callback(SHAPE, where, lambda index: all_frames[index])
    calls = []

    def means(own):
        calls.append([next(k for k, one in enumerate(all_frames) if (one == clip).all()) for clip in own])
        return own.mean((1, 2, 3, 4)) + 1000 * rank  # so the numbers tell who was asked

    def failing(own):
        if rank == 0:
            raise OSError("no reward here")
        return np.zeros(len(own))

    report = {"motion": rewarded(Rewards(MotionReward(), mesh), frames)}
    report["host"] = rewarded(Rewards(HostReward(means, "means"), mesh), frames)
    report["calls"] = calls
    try:
        Rewards(HostReward(failing, "failing"), mesh)(frames)
    except (OSError, RuntimeError) as error:
        report["error"] = str(error)
    whole = jax.make_array_from_callback(SHAPE, parallel.replicated(mesh), lambda index: all_frames[index])
    try:
        Rewards(HostReward(means, "means"), mesh)(whole)
    except ValueError as error:
        report["cut otherwise"] = str(error)
    print(json.dumps(report))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
