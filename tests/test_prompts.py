import itertools
import re
from pathlib import Path

import pytest

from steady_jax.text import clean

FOLDER = Path(__file__).parents[1] / "configs" / "prompts"
CAMERA_MOVES = (
    r"\b(pan|pans|panned|panning|panorama|zoom\w*|dolly|dollies|tracking|tilt\w*|crane|orbit\w*|handheld|drone|flyover)\b"
    r"|\bcamera (follows|glides|moves|rises|flies|pushes|pulls)\b"
)
FIXED_CAMERA = (
    r"\b(static|fixed|locked|tripod|still|stationary|unmoving|motionless|immobile|steady|clamped|bolted|planted|rooted)\b"
    r"|\b(does not|never) (move|moves|stir|budge)\b|\bcamera (stays|holds|is weighed down)\b"
    r"|\bheld rigid\b|\bscrewed to\b"
)


def lines(name):
    return (FOLDER / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def nature():
    return lines("nature.txt")


def test_there_are_enough_prompts_all_different(nature):
    assert len(nature) >= 200
    assert len({prompt.lower() for prompt in nature}) == len(nature)


def test_each_prompt_is_a_line_of_clean_text(nature):
    for prompt in nature:
        assert 40 <= len(prompt) <= 600, prompt
        assert prompt == clean(prompt)
        assert prompt.isprintable(), prompt
        assert prompt[0].isupper(), prompt
        assert prompt.endswith("."), prompt
        assert 1 <= len(re.findall(r"[.!?](?= |$)", prompt)) <= 3, prompt


def test_prompts_are_not_made_from_one_template(nature):
    words = [set(re.findall(r"\w+", prompt.lower())) for prompt in nature]
    for (first, a), (second, b) in itertools.combinations(zip(nature, words, strict=True), 2):
        assert len(a & b) < 0.4 * len(a | b), (first, second)
    openings = [" ".join(prompt.lower().split()[:3]) for prompt in nature]
    assert len(set(openings)) == len(openings)


def test_the_camera_stands_still(nature):
    for prompt in nature:
        assert not re.search(CAMERA_MOVES, prompt, re.IGNORECASE), prompt
        assert re.search(FIXED_CAMERA, prompt, re.IGNORECASE), prompt


def test_no_prompt_is_taken_for_a_schedule(nature):
    for prompt in nature:
        assert not set(prompt) & set("|[]#"), prompt


def test_the_negative_prompt_is_one_line():
    (negative,) = lines("wan_negative.txt")
    terms = negative.split("，")
    assert (terms[0], terms[-1]) == ("色调艳丽", "倒着走")
    assert len(set(terms)) == len(terms) == 28
