import re
import subprocess
import sys
from pathlib import Path

import pytest

from steady_jax import scene_file
from steady_jax.scenes import Scene

REPOSITORY = Path(__file__).parents[1]
LONG = "waves roll on " * 20
KEYS = (
    r"the keys of a scene are prompt \(text\), seconds \(a number\), cut \(true or false\), "
    r"flush \(true, false or null\)"
)


def written(folder, content):
    file = folder / "scenes.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


GOOD_FILE = """\ufeff# fog and sea
- prompt: Fog [5s] | sea
  cut: false
  seconds: 5
- seconds: 10.5
  prompt: >
    Höhle im
      Nebel
  cut: true
  flush: no
- prompt: "Night: #1"
  flush: true
- {prompt: '5', cut: off, flush: null}
- prompt: 火山
  seconds: 1:30
  flush:
"""


def test_a_scene_file(tmp_path):
    expected = (
        Scene("Fog [5s] | sea", 5.0),
        Scene("Höhle im Nebel", 10.5, cut=True, flush=False),
        Scene("Night: #1", flush=True),
        Scene("5"),
        Scene("火山", 90.0),
    )
    for content in (GOOD_FILE, GOOD_FILE.replace("\n", "\r\n")):
        scenes = scene_file.read(written(tmp_path, content))
        assert scenes == expected
        assert {type(scene.seconds) for scene in scenes} == {float, type(None)}
    assert scene_file.read(str(tmp_path / "scenes.yaml")) == expected


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        ("- prompt: fog\n  second: 5\n", (2, 3), "unknown key, got the text 'second'"),
        ("- prompt: fog\n  3: 5\n", (2, 3), "unknown key, got 3"),
        ("- prompt: fog\n  ? [seconds]\n  : 5\n", (2, 5), "unknown key, got a list"),
        ("- &a {prompt: fog}\n- <<: *a\n", (2, 3), "unknown key, got <<"),
        ("- prompt: fog\n- prompt: sea\n  seconds: 5\n  prompt: sky\n", (4, 3), "each key once, got prompt again"),
        ("- prompt: fog\n- seconds: 5\n  cut: no\n", (2, 3), "needs a prompt, got seconds, cut"),
        ("- prompt: fog\n- {}\n", (2, 3), "needs a prompt, got no key"),
        ("- prompt: 5\n", (1, 11), "prompt must be text, got 5"),
        ("- prompt: yes\n", (1, 11), "prompt must be text, got yes"),
        ("- prompt: 2024-13-45\n", (1, 11), "prompt must be text, got 2024-13-45"),
        ("- prompt:\n  seconds: 5\n", (1, 10), "prompt must be text, got nothing"),
        ("- prompt: [fog]\n", (1, 11), "prompt must be text, got a list"),
        ("- prompt: ' '\n", (1, 11), "prompt of a scene must hold text, got none"),
        ("- prompt: fog\n  seconds: 5s\n", (2, 12), "seconds must be a number, got the text '5s'"),
        ("- prompt: fog\n  seconds: '5'\n", (2, 12), "seconds must be a number, got the text '5'"),
        ("- prompt: fog\n  seconds: true\n", (2, 12), "seconds must be a number, got true"),
        ("- prompt: fog\n  seconds: null\n", (2, 12), "seconds must be a number, got nothing"),
        ("- prompt: fog\n  seconds: {}\n", (2, 12), "seconds must be a number, got keys and values"),
        ("- prompt: fog\n  seconds: !!int five\n", (2, 12), "seconds must be a number, got five"),
        (f"- prompt: fog\n  seconds: {'9' * 5000}\n", (2, 12), r"seconds must be a number, got 9{37}\.\.\."),
        (f"- prompt: fog\n  seconds: {'9' * 400}\n", (2, 12), "seconds of a scene must be positive and at most"),
        ("- prompt: fog\n  seconds: 0\n", (2, 12), "seconds of a scene must be positive.*, got 0"),
        ("- prompt: fog\n  seconds: .nan\n", (2, 12), "seconds of a scene must be positive.*, got nan"),
        ("- prompt: fog\n- prompt: sea\n  cut: 1\n", (3, 8), "cut must be true or false, got 1"),
        ("- prompt: fog\n- prompt: sea\n  cut:\n", (3, 7), "cut must be true or false, got nothing"),
        ("- prompt: fog\n  cut: !!bool maybe\n", (2, 8), "cut must be true or false, got maybe"),
        ("- prompt: fog\n  cut: !!bool [true]\n", (2, 8), "cut must be true or false, got a list"),
        ("- prompt: fog\n  flush: 'true'\n", (2, 10), "flush must be true, false or null, got the text 'true'"),
        ("- prompt: fog\n- sea\n", (2, 3), "made of keys and values, as in '- prompt: TEXT', got the text 'sea'"),
        ("- - prompt: fog\n", (1, 3), "made of keys and values.*, got a list"),
        ("# fog\nprompt: fog\n", (2, 1), "a scene file is a list, .*, got keys and values"),
        (
            f"{LONG}\n",
            (1, 1),
            r"a scene file is a list, .*, got the text 'waves roll on waves roll on waves rol\.\.\.'",
        ),
    ],
)
def test_what_is_no_scene_is_named_with_its_place(tmp_path, content, place, message):
    file = written(tmp_path, content)
    where = re.escape(f"{file}, line {place[0]}, column {place[1]}: ")
    with pytest.raises(ValueError, match=f"^{where}.*{message}.*; {KEYS}$"):
        scene_file.read(file)


@pytest.mark.parametrize("content", ["", "# fog\n", "[]\n", "{}\n", "---\n"])
def test_a_file_without_scenes_is_refused(tmp_path, content):
    file = written(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: .* at least one scene, got none; {KEYS}$"):
        scene_file.read(file)


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (
            "- prompt: fog: sea\n",
            (1, 14),
            "mapping values are not allowed here; a prompt with signs of YAML, such as ': ', goes in quotes",
        ),
        ("- prompt: fog\n seconds: 5\n", (2, 2), "expected <block end>, but found"),
        ("- prompt: fog\n- prompt: [5s] | b\n", (2, 18), "expected a comment or a line break, but found 'b'"),
        ("- prompt: *fog\n", (1, 11), "found undefined alias"),
        ("- prompt: fog\n---\n- prompt: sea\n", (2, 1), "expected a single document in the stream, but found another"),
        ("- prompt: fog\n- prompt: a\x00\n", (2, 12), r"printable characters only, got '\\x00'"),
        ("\x1b\n", (1, 1), r"printable characters only, got '\\x1b'"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_place(tmp_path, content, place, message):
    file = written(tmp_path, content)
    where = re.escape(f"{file}, line {place[0]}, column {place[1]}: ")
    with pytest.raises(ValueError, match=f"^{where}.*{message}") as error:
        scene_file.read(file)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"UTF-8 text, but .*scenes\.yaml is not .*; save it as UTF-8"):
        scene_file.read(written(tmp_path, "- prompt: Höhle\n".encode("latin-1")))
    with pytest.raises(FileNotFoundError):
        scene_file.read(tmp_path / "nowhere.yaml")


def test_scenes_need_no_jax():
    code = "import sys\nfrom steady_jax import scene_file\nprint({'jax', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "set()\n"
