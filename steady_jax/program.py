"""A function compiled once: its compile time and memory are known, and a second compilation cannot happen unseen."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax


class Program:
    """Compiles `function` for the shapes of its first call; later calls with other shapes are an error.

    Args:
        donate: positions of arguments whose buffers the program may reuse.
        results: shardings of the results, a tree or one for all (None inside: the compiler's choice); None: where the
            arguments are, or JAX's first device if none of them is used.
    """

    def __init__(self, function: Callable[..., Any], *, donate: Sequence[int] = (), results: Any = None) -> None:
        where = {} if results is None else {"out_shardings": results}
        self._jitted = jax.jit(function, donate_argnums=tuple(donate), **where)
        self._compiled: jax.stages.Compiled | None = None
        self.compile_seconds = 0.0

    def __call__(self, *args: Any) -> Any:
        return self.compile(*args)(*args)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes on a device by the compiler's account; empty before it is compiled. Donated arguments count once."""
        if self._compiled is None:
            return {}
        found = self._compiled.memory_analysis()
        return {
            "arguments": found.argument_size_in_bytes,
            "results": found.output_size_in_bytes - found.alias_size_in_bytes,
            "temporaries": found.temp_size_in_bytes,
        }

    def compile(self, *args: Any) -> jax.stages.Compiled:
        """The compiled program; args (arrays or their abstract shapes) are looked at the first time only."""
        if self._compiled is None:
            start = time.perf_counter()
            self._compiled = self._jitted.lower(*args).compile()
            self.compile_seconds = time.perf_counter() - start
        return self._compiled
