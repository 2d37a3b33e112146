"""Times the attention backends and prints one JSON line per size: python scripts/benchmark_attention.py

    python scripts/benchmark_attention.py --size=1,9360,28080,12,128 --dtype=bfloat16   # one block of the 1.3B model

Backends take turns, so that whatever else the machine does hits all of them. The times are medians in milliseconds, for
all keys and for a traced prefix of a third of them; "ratio" is the time of all keys relative to "xla".
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from absl import app, flags

from steady_jax.nn.attention import BACKENDS, attention, available_backends

SIZES = ("1,96,288,6,32", "1,512,1536,12,128", "2,1024,3072,12,64", "1,1560,4680,12,128")

_SIZE = flags.DEFINE_multi_string("size", SIZES, "Items, queries, keys, heads and width of a head; repeat for several.")
_BACKEND = flags.DEFINE_multi_enum("backend", None, list(BACKENDS), "Backends to time; all of this platform if unset.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16", "float16"], "Type of queries, keys and values.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Timed calls of each backend.", lower_bound=1)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError("only flags are taken")
    backends = _BACKEND.value or [
        name
        for name in available_backends(jax.default_backend())
        if not (name == "cudnn" and _DTYPE.value == "float32")  # there is no such kernel
    ]
    for size in _SIZE.value:
        print(json.dumps(measure(size, backends)), flush=True)


def measure(size: str, backends: list[str]) -> dict:
    items, queries, keys, heads, width = (int(number) for number in size.split(","))
    q, k, v = (
        jax.random.normal(jax.random.key(seed), (items, tokens, heads, width), _DTYPE.value)
        for seed, tokens in enumerate((queries, keys, keys))
    )
    programs = {name: compiled(name) for name in backends}
    third = jnp.int32(max(1, keys // 3))
    whole = medians({name: partial(run, q, k, v) for name, run in programs.items()})
    prefix = medians({name: partial(run, q, k, v, third) for name, run in programs.items()})
    report = {"size": size, "dtype": _DTYPE.value, "device": jax.devices()[0].device_kind}
    report |= {"all_keys_ms": whole, "third_of_keys_ms": prefix}
    if "xla" in whole:
        report["ratio"] = {name: round(spent / whole["xla"], 3) for name, spent in whole.items()}
    return report


def compiled(backend: str) -> Callable[..., jax.Array]:
    return jax.jit(lambda q, k, v, valid=None: attention(q, k, v, valid_tokens=valid, backend=backend))


def medians(calls: dict[str, Callable[[], jax.Array]]) -> dict[str, float]:
    """Median milliseconds by name, of calls that take turns; the first round compiles and is not counted."""
    spent = {name: [] for name in calls}
    for _ in range(_ROUNDS.value + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call().block_until_ready()
            spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(times[1:]), 3) for name, times in spent.items()}


if __name__ == "__main__":
    app.run(main)
