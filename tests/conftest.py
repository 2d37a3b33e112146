"""What every test shares: fixtures of the published systems, and the tiny sizes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

FIXTURES_VARIABLE = "STEADY_JAX_FIXTURES"
# most of a test's time is compiling; processes that tests start compile alike, and so have the same bits
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)


class PublishedNumbers:
    """One .npz of numbers from a published system: `meta`, and arrays by their name in the file."""

    def __init__(self, path: Path) -> None:
        self._arrays = np.load(path)
        self.meta: dict[str, Any] = json.loads(str(self._arrays["meta"]))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays.files

    @property
    def names(self) -> list[str]:
        return self._arrays.files

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Weights by their PyTorch name."""
        prefix = "param:"
        return {name.removeprefix(prefix): self[name] for name in self.names if name.startswith(prefix)}


@pytest.fixture(scope="session", autouse=True)
def _compiling_takes_little(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Most of a test's time is compiling: each program is compiled once per run."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # workers of one run share what they compile
    keep = {"jax_compilation_cache_dir": str(run / "compiled"), "jax_persistent_cache_min_compile_time_secs": 0.3}
    for name, value in keep.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for processes that tests start


@pytest.fixture(scope="session")
def published() -> Callable[[str], PublishedNumbers]:
    """Opens a fixture by name, for example published("wan_vae_tiny"). Unset folder: skip; missing file: failure."""
    return lambda name: PublishedNumbers(_fixture_folder() / f"{name}.npz")


@pytest.fixture(scope="session")
def manifest() -> Callable[[str], dict[str, tuple[int, ...]]]:
    """Tensor names and shapes of a real checkpoint, for example manifest("wan2.1_vae"); beside the fixtures' folder."""

    def shapes(name: str) -> dict[str, tuple[int, ...]]:
        content = json.loads((_fixture_folder().parent / "manifests" / f"{name}.json").read_text())
        return {tensor: tuple(shape) for tensor, shape in content.items()}

    return shapes


def _fixture_folder() -> Path:
    folder = os.environ.get(FIXTURES_VARIABLE)
    if folder is None:
        pytest.skip(f"{FIXTURES_VARIABLE} is unset: no numbers of the published systems to compare with")
    return Path(folder)


def pytest_terminal_summary(terminalreporter) -> None:
    """Says how many tests compared with the published systems, as a run without their numbers looks just as green."""
    counts = {
        outcome: sum("fixtures" in report.keywords for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "skipped")
    }
    terminalreporter.write_line("fixtures: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
