"""Prints how long attention takes here and in PyTorch, in one process, taking turns; run by hand, asserts nothing.

    OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 taskset -c 0,1 python -m tests.nn.compare_attention_torch

Two cores and two threads for both. Passive waiting keeps PyTorch's idle threads from taking the cores of JAX. Processor
time is printed too: it hardly changes when other programs use the machine. The last size runs 20 calls in a row, in one
compiled program, as a network does: the single call of a tiny size is mostly the way into a compiled program.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from steady_jax.nn.attention import attention

THREADS = 2
SIZES = {  # items, queries, keys, heads, width: (rounds, calls in a row)
    (1, 1560, 4680, 12, 128): (9, 1),
    (2, 1024, 3072, 12, 64): (15, 1),
    (1, 512, 1536, 12, 128): (31, 1),
    (1, 96, 288, 6, 32): (301, 1),
    (1, 96, 288, 6, 32, "in a row"): (51, 20),
}


def main() -> None:
    torch.set_num_threads(THREADS)
    for size, (rounds, calls) in SIZES.items():
        spent = measure(programs(size[:5], calls), rounds)
        base = spent["torch"]
        print(*size)
        for name, (wall, processor) in spent.items():
            ratios = f"{wall / base[0]:5.2f} {processor / base[1]:5.2f}"
            print(f"  {name:14s} wall {wall:9.3f} ms  processor {processor:9.3f} ms  of torch {ratios}", flush=True)


def programs(size: tuple[int, ...], calls: int) -> dict[str, Callable[[], object]]:
    items, queries, keys, heads, width = size
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((items, tokens, heads, width), dtype=np.float32) for tokens in (queries, keys, keys)]
    q, k, v = (torch.from_numpy(array).transpose(1, 2) for array in arrays)
    ours = [jnp.asarray(array) for array in arrays]

    def torch_calls() -> torch.Tensor:
        out = q
        for _ in range(calls):
            out = torch.nn.functional.scaled_dot_product_attention(out, k, v)
        return out

    def jax_calls(backend: str, *valid_tokens: jax.Array) -> Callable[[], object]:
        def layers(q, k, v, valid=None):
            layer = lambda x, _: (attention(x, k, v, valid_tokens=valid, backend=backend), None)  # noqa: E731
            return jax.lax.scan(layer, q, length=calls)[0]

        program = jax.jit(layers)
        return lambda: program(*ours, *valid_tokens).block_until_ready()

    return {
        "torch": torch_calls,
        "chunked": jax_calls("chunked"),
        "chunked, third": jax_calls("chunked", jnp.int32(keys // 3)),
        "xla": jax_calls("xla"),
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of wall clock and of processor, by name; the first two rounds are not counted."""
    spent = {name: [] for name in calls}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            processor, wall = time.process_time(), time.perf_counter()
            call()
            spent[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)))
    return {
        name: tuple(statistics.median(column) for column in zip(*times[2:], strict=True))
        for name, times in spent.items()
    }


if __name__ == "__main__":
    main()
