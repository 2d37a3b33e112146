"""Real sizes: a conversion needs little more memory than its largest parameter. It takes up to 25 GB on disk."""

import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_torch import TEXT_ENCODER_FILE, VAE_FILE, original_shapes, write_settings
from torch._subclasses import FakeTensorMode

from converters import convert, export
from steady_jax import checkpoint, parameters
from steady_jax.models.umt5 import UMT5_SIZES
from steady_jax.models.wan_dit import DIT_SIZES
from steady_jax.models.wan_vae import VAEConfig

pytestmark = pytest.mark.slow

ROOT = Path(convert.__file__).parents[1]
CHUNK = 2**26  # bytes of random numbers, repeated to fill a file
CASES = [
    ("dit", DIT_SIZES["1.3b"], torch.bfloat16),
    ("dit", DIT_SIZES["1.3b"], torch.float32),
    ("vae", VAEConfig(), torch.float32),
    ("text_encoder", UMT5_SIZES["xxl"], torch.bfloat16),
]


def random_bytes(dtype):
    values = torch.randn(CHUNK // dtype.itemsize, generator=torch.Generator().manual_seed(0))
    return values.to(dtype).view(torch.uint8)


def write_safetensors(file, shapes, dtype):
    kind = {torch.bfloat16: "BF16", torch.float32: "F32"}[dtype]
    chunk = random_bytes(dtype).numpy()

    def tensors():
        for name, shape in shapes.items():
            yield name, np.resize(chunk, int(np.prod(shape)) * dtype.itemsize)

    export.write_safetensors(file, shapes, dict.fromkeys(shapes, kind), tensors())


def write_torch(file, shapes, dtype):
    """Saves the names and sizes only, then fills the file in place: the tensors never have to be in memory."""
    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save({name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}, file)
    chunk = random_bytes(dtype)
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        for tensor in torch.load(file, mmap=True).values():
            for part in tensor.view(-1).view(torch.uint8).split(CHUNK):
                part.copy_(chunk[: len(part)])


def anonymous_bytes(process):
    """Memory of the process that no file stands behind; mapped inputs do not count."""
    with open(f"/proc/{process.pid}/status") as status:
        lines = [line for line in status if line.startswith("RssAnon")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def run_and_watch(*arguments):
    """Runs the script and returns its peak of anonymous memory in bytes and its output."""
    command = [sys.executable, str(ROOT / "scripts" / "convert.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process))
            time.sleep(0.01)
        assert process.returncode == 0
        return peak, process.stdout.read()


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is measured through /proc")
@pytest.mark.parametrize(("part", "config", "dtype"), CASES, ids=[f"{part}-{dtype}" for part, _, dtype in CASES])
def test_peak_memory_of_a_conversion(folder, part, config, dtype):
    files = {"dit": "diffusion_pytorch_model.safetensors", "vae": VAE_FILE, "text_encoder": TEXT_ENCODER_FILE}
    write = write_safetensors if part == "dit" else write_torch
    (folder / "source").mkdir()
    write(folder / "source" / files[part], original_shapes(part, config), dtype)
    if part == "dit":
        write_settings(folder / "source", config)
    made = folder / "made"
    peak, output = run_and_watch(f"--source={folder / 'source'}", f"--destination={made}", f"--parts={part}")
    shapes = parameters.named(parameters.abstract(convert.NETWORKS[part][1], config)).values()
    largest = max(int(np.prod(leaf.shape)) for leaf in shapes) * dtype.itemsize
    bound = 3 * largest + 10**9
    print(f"\n{output.splitlines()[0]}\n{part}: peak {peak / 1e9:.2f} GB, largest parameter {largest / 1e9:.2f} GB")
    assert checkpoint.describe(made, [part]).parts[part].parameters == sum(int(np.prod(leaf.shape)) for leaf in shapes)
    assert peak <= bound, f"{peak / 1e9:.2f} GB > {bound / 1e9:.2f} GB"
