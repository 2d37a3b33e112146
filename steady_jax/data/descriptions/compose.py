"""From numbers to a description."""

import dataclasses

import numpy as np

from steady_jax.data.descriptions import air, heat, water, wind
from steady_jax.data.descriptions.framing import BACKGROUNDS, CAMERA, ENDLESS, ENDLESS_AND_STILL, OPENINGS, STYLES
from steady_jax.data.descriptions.grammar import expand, pick, sentence
from steady_jax.data.descriptions.moments import LIGHTS, SEASONS, YEAR, Light
from steady_jax.data.descriptions.scene import Mover, Place

MOVERS = {mover.name: mover for mover in (*water.MOVERS, *air.MOVERS, *wind.MOVERS, *heat.MOVERS)}
LENGTHS = (400, 600)  # characters of a description, at least and at most
DARK_WATER = "{dark|black|ink-dark}"


@dataclasses.dataclass(frozen=True)
class Described:
    """A description, and what was drawn for it."""

    text: str
    mover: str  # a key of MOVERS
    climate: str  # of its place, a key of SEASONS
    season: str  # of that climate
    light: str  # a key of LIGHTS


def description(seed: int, index: int) -> str:
    """A fixed-camera nature scene in 400 to 600 characters, the same for the same seed and index.

    Raises:
        ValueError: a number is negative.
    """
    return described(seed, index).text


def described(seed: int, index: int, mover: str | None = None) -> Described:
    """A description, and what was drawn for it.

    Args:
        seed: of a series of descriptions.
        index: of the description.
        mover: a key of MOVERS, for a description of this one instead of any.

    Raises:
        ValueError: a number is negative, or the mover is unknown.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index are at least 0, got {seed} and {index}")
    if mover is not None and mover not in MOVERS:
        raise ValueError(f"unknown mover {mover!r}; known are {', '.join(MOVERS)}")
    rng = np.random.default_rng((seed, index))
    moves = MOVERS[mover or pick(list(MOVERS), rng)]
    place = pick(moves.places, rng)
    season, light = pick(moves.seasons_at(place), rng), pick(moves.lights, rng)
    while True:  # about one text in two is too short or too long
        text = _text(moves, place, season, LIGHTS[light], rng)
        if LENGTHS[0] <= len(text) <= LENGTHS[1]:
            return Described(text, moves.name, place.climate, season, light)


def _text(mover: Mover, place: Place, season: str, light: Light, rng: np.random.Generator) -> str:
    """All sentences in one of a few orders; those on light, season and style may be left out."""
    camera, setting = [expand(CAMERA, rng)], [_opening(place, season, light, rng)]
    if rng.random() < 0.7:
        setting.append(expand(light.falls, rng))
    background = [_background(place, rng)]
    remarks = SEASONS[place.climate][season]
    if remarks and not light.dark and rng.random() < 0.5:
        background.append(expand(remarks, rng))
    motion = _motion(mover, place, light, rng)
    style = [expand(STYLES, rng)] if rng.random() < 0.5 else []
    orders = (
        (setting, background, motion, camera, style),
        (setting, motion, background, camera, style),
        (camera, setting, background, motion, style),
        (camera, setting, motion, background, style),
    )
    return " ".join(sentence(clause) for part in pick(orders, rng) for clause in part)


def _opening(place: Place, season: str, light: Light, rng: np.random.Generator) -> str:
    noun = pick(("", "early ", "late "), rng) + season if season in YEAR else f"the {season}"
    when = expand(light.when, rng, {"adj": season.replace(" ", "-"), "season": noun})
    slots = {"place": expand((place.name,), rng), "when": when, "sky": expand(light.sky, rng)}
    return expand(OPENINGS, rng, slots)


def _background(place: Place, rng: np.random.Generator) -> str:
    slots = {"near": expand(place.near, rng), "far": expand(place.far, rng)}
    return expand(BACKGROUNDS, rng, slots)


def _motion(mover: Mover, place: Place, light: Light, rng: np.random.Generator) -> list[str]:
    """How the mover moves, and that it never stops, while all else is still."""
    water = DARK_WATER if light.dark else place.water
    slots = {"at": expand((place.at,), rng), "water": expand((water,), rng)}
    moves, flow = expand(mover.motions, rng, slots), {"flow": expand((mover.flow,), rng)}
    if rng.random() < 0.3:
        return [f"{expand((mover.only,), rng)}: {moves}", expand(ENDLESS, rng, flow)]
    return [moves, expand(ENDLESS_AND_STILL, rng, flow)]
