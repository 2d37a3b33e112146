"""Compiles the TPU attention for a topology on a machine without one, and prints bytes of temporaries as JSON.

TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost JAX_PLATFORMS=cpu python -m tests.nn.compile_attention_tpu v5p:2x2x1

Needs libtpu (`pip install -e .[tpu]`). The sizes are those of one block of six latent frames at 480x832 against 18.
"""

import importlib.util
import json
import sys

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from steady_jax.nn.attention import attention

QUERIES, SLOTS, HEADS, WIDTH = 9360, 28080, 12, 128


def main(topology: str) -> None:
    if importlib.util.find_spec("libtpu") is None:
        raise SystemExit("libtpu is missing, the TPU compiler: pip install -e .[tpu]")
    device = topologies.get_topology_desc(topology, platform="tpu").devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    q, kv = (
        jax.ShapeDtypeStruct((1, tokens, HEADS, WIDTH), jnp.bfloat16, sharding=sharding) for tokens in (QUERIES, SLOTS)
    )
    valid_tokens = jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding)

    def temporaries(function) -> int:
        compiled = jax.jit(function).lower(q, kv, kv, valid_tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def loss(*arguments):
        return forward(*arguments).astype(jnp.float32).sum()

    report = {"forward": temporaries(forward), "gradient": temporaries(jax.grad(loss, (0, 1, 2)))}
    print(json.dumps({"topology": topology, "device": device.device_kind, **report}))


def forward(q, k, v, valid_tokens):
    return attention(q, k, v, valid_tokens=valid_tokens, backend="tpu")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["v5e:2x2"])
