"""Run as a program: writes a state of the real size (1.3B at 480x832, the published memory) into the given folder,
reads it back, and prints bytes, seconds and the growth of the process's peak memory as JSON. No network runs.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from steady_jax import parameters, saved_state
from steady_jax.config import MODELS, block_settings, sampling_config
from steady_jax.engine import Engine
from steady_jax.models.wan_dit import WanDiT
from steady_jax.models.wan_vae import WanVAE
from steady_jax.session import LIVE, Live

NETWORKS = {"dit": WanDiT, "vae": WanVAE}


def main(folder: Path) -> None:
    model, config = MODELS["1.3b"], sampling_config("steady", "1.3b")
    engine = Engine(model, None, block_settings(config), height=config.height, width=config.width)
    engine._networks = {name: parameters.abstract(kind, getattr(model, name)) for name, kind in NETWORKS.items()}
    shapes = {f"{LIVE}{path}": leaf for path, leaf in parameters.named(Live(*engine.abstract_state())).items()}
    random = np.random.default_rng(0)
    before = peak_bytes()

    def arrays():
        for path, leaf in shapes.items():
            size = leaf.size * leaf.dtype.itemsize
            yield path, np.frombuffer(random.bytes(size), leaf.dtype).reshape(leaf.shape)

    start = time.perf_counter()
    saved_state.save(folder, {}, arrays())
    written, writing = time.perf_counter(), peak_bytes()
    state = saved_state.latest(folder)
    jax.block_until_ready(state.read(LIVE, jax.local_devices()[0]))
    report = {
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "memory_bytes": sum(leaf.size * leaf.dtype.itemsize for path, leaf in shapes.items() if "memory" in path),
        "save_seconds": written - start,
        "save_peak_bytes": writing - before,
        "read_seconds": time.perf_counter() - written,
        "read_peak_bytes": peak_bytes() - before,
    }
    json.dump(report, sys.stdout)


def peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
