"""Scenes from a YAML file, for prompts that a schedule cannot hold and for settings it does not have.

- prompt: Waves on a beach [seen from above]
  seconds: 5
- prompt: Fog rolls in
  cut: true  # begins with a scene cut; false if left out
  flush: false  # whether its beginning purges the memory; left out or null: as the policy does

As everywhere in YAML, a prompt with ": " or " #" in it goes in quotes.
"""

import io
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import ReaderError

from steady_jax.scenes import Scene, check_seconds, one_line, shortened

TAG = "tag:yaml.org,2002:"
KINDS = {  # what a key holds: the tags of YAML, and words for them
    "prompt": (("str",), "text"),
    "seconds": (("int", "float"), "a number"),
    "cut": (("bool",), "true or false"),
    "flush": (("bool", "null"), "true, false or null"),
}
KNOWN = "the keys of a scene are " + ", ".join(f"{key} ({words})" for key, (_, words) in KINDS.items())


def read(file: str | Path) -> tuple[Scene, ...]:
    """Reads a scene file. Prompts are taken literally, but for white space: each run of it becomes one space.

    Raises:
        ValueError: the file holds no scenes; the message names the line and the column.
        OSError: the file cannot be read.
    """
    root = _composed(Path(file))
    if root is None or not root.value:
        raise ValueError(f"{file}: a scene file must list at least one scene, got none; {KNOWN}")
    if not isinstance(root, yaml.SequenceNode):
        raise _wrong(root, f"a scene file is a list, with '- ' before the first key of each scene, got {_got(root)}")
    return tuple(_scene(node) for node in root.value)


def _composed(file: Path) -> yaml.Node | None:
    """The file's content as nodes, which know their places; None if there is none."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"a scene file is UTF-8 text, but {file} is not ({error}); save it as UTF-8") from error
    stream = io.StringIO(text)
    stream.name = str(file)  # which nodes and errors then give as theirs
    try:
        return yaml.compose(stream, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ValueError(
            f"{_place(error.problem_mark)}: {problem}; a prompt with signs of YAML, such as ': ', goes in quotes"
        ) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise ValueError(
            f"{file}, line {line}, column {column}: YAML holds printable characters only, got {chr(error.character)!r}"
        ) from error


def _scene(node: yaml.Node) -> Scene:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, f"a scene is made of keys and values, as in '- prompt: TEXT', got {_got(node)}")
    settings: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value not in KINDS:
            raise _wrong(key, f"unknown key, got {_got(key)}")
        if key.value in settings:
            raise _wrong(key, f"a scene has each key once, got {key.value} again")
        settings[key.value] = _setting(key.value, value)
    if "prompt" not in settings:
        raise _wrong(node, f"a scene needs a prompt, got {', '.join(settings) or 'no key'}")
    return Scene(**settings)


def _setting(key: str, node: yaml.Node) -> str | float | bool | None:
    """The value of a key of a scene."""
    tags, words = KINDS[key]
    wrong = _wrong(node, f"{key} must be {words}, got {_got(node)}")
    if node.tag.removeprefix(TAG) not in tags:
        raise wrong
    try:
        value = SafeConstructor().construct_object(node)
    except (ValueError, KeyError, yaml.YAMLError):  # a tag that is written out and does not fit, as in `!!int five`
        raise wrong from None
    if key == "seconds":
        try:
            check_seconds(value)
        except ValueError as error:
            raise _wrong(node, str(error)) from None
        return float(value)
    if key == "prompt":
        value = one_line(value)
        if not value:
            raise _wrong(node, "the prompt of a scene must hold text, got none")
    return value


def _got(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "keys and values"
    if node.tag == f"{TAG}null":
        return "nothing"
    value = shortened(one_line(node.value))
    return f"the text {value!r}" if node.tag == f"{TAG}str" else value


def _wrong(node: yaml.Node, problem: str) -> ValueError:
    return ValueError(f"{_place(node.start_mark)}: {problem}; {KNOWN}")


def _place(mark: yaml.Mark) -> str:
    return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
