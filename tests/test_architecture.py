"""Who may import whom, read from the source; and what every file of the package keeps to."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "steady_jax").rglob("*.py"))
# what each part of the package may import of the package itself
ALLOWED = {
    "shapes": (),
    "program": (),
    "parallel": ("shapes",),
    "parts": (),
    "pixels": ("shapes",),
    "prompt_file": (),
    "parameters": (),
    "diffusion": ("shapes", "diffusion"),
    "memory": ("shapes", "parallel", "memory"),
    "nn": ("shapes", "parallel", "nn"),
    "models": ("shapes", "parallel", "nn", "models"),
    "block": ("shapes", "nn", "models", "diffusion", "memory"),
    "rollout": ("shapes", "models", "memory", "block"),
    "scenes": (),
    "scene_file": ("scenes",),
    "pictures": ("scenes",),
    "start": ("shapes", "pictures"),
    "text": (),
    "orbax_item": (),
    "checkpoint": ("parameters", "orbax_item"),
    "config": ("models", "memory", "diffusion", "block", "checkpoint"),
    "saved_state": ("orbax_item",),
    "run": ("run", "scenes", "saved_state", "prompt_file"),
    "data": ("data", "pictures", "scenes", "prompt_file", "text"),
    "evaluation": ("shapes", "evaluation", "parameters", "pixels"),
    "train": (
        *(
            "train",
            "data",
            "run",
            "evaluation",
            "shapes",
            "parallel",
            "pixels",
            "program",
            "parameters",
            "nn",
            "models",
        ),
        *("memory", "diffusion", "block", "rollout", "text", "checkpoint", "orbax_item", "saved_state", "config"),
        "scenes",
    ),
    "trial": (
        *("trial", "evaluation", "train", "data", "run", "pipeline", "checkpoint", "config", "block", "memory"),
        *("models", "diffusion", "scenes", "shapes", "text"),
    ),
    "engine": ("shapes", "pixels", "program", "models", "memory", "block", "rollout", "config"),
    "session": ("shapes", "parameters", "models", "memory", "engine", "saved_state", "start"),
    "pipeline": (
        *("shapes", "parameters", "nn", "models", "memory", "diffusion", "block", "text", "checkpoint", "config"),
        *("scenes", "saved_state", "pictures", "start", "engine", "session"),
    ),
}


@pytest.mark.parametrize("file", PACKAGE, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_house(file):
    place = file.relative_to(ROOT / "steady_jax").parts[0].removesuffix(".py")
    if place == "__init__":
        return
    for module in imported(file):
        top, _, rest = module.partition(".")
        assert top not in ("torch", "converters", "configs", "scripts"), f"{file} imports {module}"
        if top == "steady_jax":
            assert rest.split(".")[0] in ALLOWED[place], f"{place} must not import {module}"


@pytest.mark.parametrize("file", sorted((ROOT / "converters").rglob("*.py")), ids=lambda file: file.name)
def test_converters_import_only_what_has_weights(file):
    for module in imported(file):
        top, _, rest = module.partition(".")
        if top == "steady_jax":
            assert rest.split(".")[0] in ("models", "parameters", "checkpoint", "orbax_item", "text"), module


def imported(file):
    """Dotted names of all modules that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports by a relative name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found
