"""Text from templates: `{a|b}` is one of several wordings (they may be nested), `<name>` a slot, `a/an` an article."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")
WORDINGS = re.compile(r"\{([^{}]*)\}")  # the innermost ones
SLOT = re.compile(r"<(\w+)>")
ARTICLE = re.compile(r"\b([aA])/an (?=(\w))")


def pick(options: Sequence[Choice], rng: np.random.Generator) -> Choice:
    """One of several, all equally likely."""
    return options[int(rng.random() * len(options))]  # several times as fast as rng.integers


def expand(templates: Sequence[str], rng: np.random.Generator, slots: Mapping[str, str] | None = None) -> str:
    """Text of one of several templates.

    Args:
        templates: with wordings, slots and articles.
        rng: draws the wordings, from the innermost outwards and from the left.
        slots: text of each slot, without wordings: a slot says the same wherever it stands.

    Raises:
        KeyError: a slot has no text.
    """
    text = SLOT.sub(lambda slot: (slots or {})[slot[1]], pick(templates, rng))
    while "{" in text:
        # as pick does it, without a call for each wording: tests check the arguments of every call, which takes time
        text = WORDINGS.sub(lambda found: found[1].split("|")[int(rng.random() * (found[1].count("|") + 1))], text)
    return ARTICLE.sub(lambda article: article[1] + ("n " if article[2].lower() in "aeiou" else " "), text)


def sentence(clause: str) -> str:
    """A clause with a capital letter and a full stop."""
    return clause[0].upper() + clause[1:] + "."
