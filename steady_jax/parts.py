"""Several processes that share work without talking to each other: each one finds its part by its number."""

import os
from collections.abc import Sequence
from typing import TypeVar

AUTO = "auto"
RANKS = {  # how a launcher tells a process its number, and how many there are
    "SLURM": ("SLURM_PROCID", "SLURM_NTASKS"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "torchrun": ("RANK", "WORLD_SIZE"),
    "Kubernetes": ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
}

Item = TypeVar("Item")


def part_of(text: str | None) -> tuple[int, int]:
    """The number of this process and how many there are.

    They are not joined in one JAX runtime: nothing has to be exchanged, and one that ends takes no other with it.

    Args:
        text: "0/4" for the first of four; "auto" takes it from the launcher (SLURM, Open MPI, torchrun, Kubernetes);
            None: alone.
    Raises:
        ValueError: another text, a number that is out of range, or no launcher for "auto".
    """
    if text is None:
        return 0, 1
    if text == AUTO:
        found = [names for names in RANKS.values() if all(name in os.environ for name in names)]
        if not found:
            listed = ", ".join(f"{kind} ({' and '.join(names)})" for kind, names in RANKS.items())
            raise ValueError(
                f"part=auto takes numbers from the environment of {listed}, got none of them; say part=0/4"
            )
        number, _, count = "/".join(os.environ[name] for name in found[0]).partition("/")
    else:
        number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError(
            f"a part is NUMBER/COUNT with NUMBER from 0 to COUNT - 1 (0/4 is the first of 4), got {text!r}"
        )
    return int(number), int(count)


def share(items: Sequence[Item], part: tuple[int, int]) -> list[Item]:
    """The items of one part: every process takes every so many, so that the parts are alike."""
    number, count = part
    return list(items[number::count])
