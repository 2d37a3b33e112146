"""Descriptions: long enough, all different, one thing that moves, and nothing that cannot be seen together."""

import math
import re
from collections import Counter

import numpy as np
import pytest

from steady_jax.data.descriptions import LENGTHS, MOVERS, described, description
from steady_jax.data.descriptions.framing import BACKGROUNDS, CAMERA, ENDLESS_AND_STILL, OPENINGS
from steady_jax.data.descriptions.grammar import expand
from steady_jax.data.descriptions.moments import LIGHTS, SEASONS, Light
from steady_jax.data.descriptions.scene import Mover, Place

DRAWS = 17_000  # prompts of a published distillation
# the words by which each mover is known; nothing else that is described may go by them
WORDS = {
    "sea": r"\b(sea(?! stacks)|waves?|swell|surf)\b",
    "river": r"\b(river|current)\b",
    "waterfall": r"\b(waterfall|waterfalls|cascade)\b",
    "lake": r"\blake\b",
    "clouds": r"\bclouds?\b",
    "fog": r"\b(fog|mist)\b",
    "rain": r"\b(rain|raindrops|rainfall)\b",
    "snow": r"\b(snowflakes|snowfall|flakes|snow (falls|comes down))\b",
    "aurora": r"\b(aurora|northern lights)\b",
    "smoke": r"\bsmoke\b",
    "grass": r"\bgrass\b",
    "leaves": r"\bleaves (of|move)\b",
    "sand": r"\b(blowing sand|wind-blown|sand off|sand over)\b",
    "fire": r"\b(fire(?! (pit|bowl))|flames?|embers)\b",
    "lava": r"\blava\b",
    "geyser": r"\bgeyser\b",
    "steam": r"\bsteam\b",
}
SUN = r"\b(sun(?!-)|sunlight|blue sky|midday|noon|daylight|shadows)\b"
NIGHT = r"\b(night|moon|moonlight|stars|starlit|starlight)\b"
ICE = r"\b(snow|snowflakes|snowfall|frost|ice|glacier|winter|aurora|northern lights)\b"
TROPICS = r"\b(palms?|rainforest|jungle|coconut|mangroves?|rice|dry[- ]season|wet[- ]season|orchids|lianas)\b"
DESERT = r"\b(desert|dunes? (ridge|crest)|salt|sandstone)\b"
WET_SKY = r"\b(rain|raindrops|snowflakes|snowfall|snow (falls|comes down))\b"
# what one scene never has both of
FORBIDDEN = (
    (SUN.replace("|shadows", ""), NIGHT),
    (r"sunset|sunrise", r"\b(moon|stars|starlit|overcast|blue sky)\b"),
    (TROPICS, ICE),
    (TROPICS, r"\b(spruces?|birch(es)?|heather|larch|reindeer)\b"),
    (DESERT, r"\b(snow|snowflakes|frost|ice|fog|rain|moor|heather)\b"),
    (WET_SKY, r"\b(blue sky|sunlight|low sun|sunrise|sunset|shadows across|stars|moon|horizon lies)\b"),
    (r"\bfog\b", r"\b(blue sky|crisp|stars)\b"),
    (r"\baurora|northern lights\b", r"\b(summer|moon|sun|overcast)\b"),
    (r"\bwinter\b", r"\b(flowers|wildflowers|greenery|foliage)\b"),
    (r"\bsummer\b", r"\b(snowflakes|snow(?!-)|frost|foliage)\b"),
    (NIGHT, r"\b(turquoise|emerald|jade|cobalt|green waves|colours rich)\b"),
    (r"\bovercast\b", r"\b(shadows (across|are)|sunlight|stars|moon)\b"),
    (r"(?<!-)\bspring\b", r"\b(summer|autumn|winter)\b"),
    (r"\b(summer|autumn)\b", r"\bwinter\b"),
)
PEOPLE = (
    r"(?i)\b(man|men|woman|women|person|people|figures?|hikers?|child|children|walkers?|someone|crowds|boys?|girls?"
    r"|he|she|his|her)\b"
)
STILL_CAMERA = re.compile(
    r"(tripod|camera)[^.]*\b(no|not|never|without|motionless|does not change|unchanging|throughout|holds|keeps)\b"
    r"|\b(never|not|without|no)\b[^.]*(tripod|camera)",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def drawn():
    return [described(7, index) for index in range(DRAWS)]


def test_same_numbers_same_text_and_other_numbers_another():
    texts = [description(3, index) for index in range(20)]
    assert [description(3, index) for index in reversed(range(20))] == texts[::-1]
    assert [described(3, index).text for index in range(20)] == texts
    assert not set(texts) & {description(4, index) for index in range(20)}
    assert not set(texts) & {description(3, index) for index in range(20, 40)}


def test_all_are_different_and_of_the_length_that_is_promised(drawn):
    assert len({one.text for one in drawn}) == DRAWS
    lengths = [len(one.text) for one in drawn]
    assert min(lengths) >= 400
    assert max(lengths) <= 600
    assert LENGTHS == (400, 600)
    assert 480 < np.median(lengths) < 560


def test_every_place_gives_more_than_a_billion():
    for mover in MOVERS.values():
        for place in mover.places:
            parts = (OPENINGS, place.near, place.far, BACKGROUNDS, mover.motions, ENDLESS_AND_STILL, CAMERA)
            skies = min(ways(LIGHTS[light].when) * ways(LIGHTS[light].sky) for light in mover.lights)
            assert math.prod(map(ways, parts)) * skies > 1e9, (mover.name, place.name)


def ways(templates):
    """How many wordings templates have together; those that are nested count as one."""
    return sum(
        math.prod(len(group.split("|")) for group in re.findall(r"\{([^{}]*)\}", template)) for template in templates
    )


def test_every_mover_place_season_and_light_is_drawn(drawn):
    counts = Counter(one.mover for one in drawn)
    assert counts.keys() == WORDS.keys() == MOVERS.keys()
    assert min(counts.values()) > 0.8 * DRAWS / len(MOVERS)
    expected = {
        (mover.name, place.climate, season, light)
        for mover in MOVERS.values()
        for place in mover.places
        for season in mover.seasons_at(place)
        for light in mover.lights
    }
    assert {(one.mover, one.climate, one.season, one.light) for one in drawn} == expected


def test_one_thing_moves_and_it_is_the_one_that_was_drawn(drawn):
    known = {mover: re.compile(words) for mover, words in WORDS.items()}
    for one in drawn:
        text = one.text.lower()
        assert [mover for mover, words in known.items() if words.search(text)] == [one.mover], one


def test_the_season_and_the_time_of_day_are_named(drawn):
    for one in drawn:
        assert re.search(one.season.replace(" ", "[- ]"), one.text), one
        assert bool(re.search(NIGHT, one.text)) == (one.light in ("moon", "stars")), one


def test_what_cannot_be_together_is_not(drawn):
    for one, other in FORBIDDEN:
        one, other = re.compile(one), re.compile(other)
        both = [scene for scene in drawn if one.search(scene.text) and other.search(scene.text)]
        assert not both, (one.pattern, other.pattern, both[0])


@pytest.mark.parametrize(("one", "other"), FORBIDDEN)
def test_each_side_of_what_is_forbidden_exists(drawn, one, other):
    assert all(any(re.search(words, scene.text) for scene in drawn) for words in (one, other))


def test_nobody_is_there(drawn):
    assert [one for one in drawn if re.search(PEOPLE, one.text)] == []


def test_the_camera_is_said_to_stand_still_once(drawn):
    for one in drawn:
        assert len([said for said in sentences(one.text) if STILL_CAMERA.search(said)]) == 1, one
        for said in sentences(one.text):
            if re.search(r"\b(pan|panning|zoom|zooming|tilt)\b", said):
                assert re.search(r"\b(no|not|without)\b", said), one


def test_the_motion_never_stops_and_the_rest_is_still(drawn):
    endless = re.compile(
        r"never (stops|ceases|lets up|pauses)|without (a pause|a break|end)|endlessly|goes on (and on|at an even pace)"
        r"|neither beginning nor end"
    )
    still = re.compile(
        r"only the |alone (is|are) in motion|one thing that moves|(lake moves)|otherwise"
        r"|(perfectly|completely|absolutely) still|nothing else moves|everything else is still|motionless"
        r"|(nothing|not a thing) (stirs|moves)"
    )
    for one in drawn:
        assert endless.search(one.text), one
        assert still.search(one.text.lower()), one


def test_sentences_are_sentences(drawn):
    for one in drawn:
        assert one.text.isprintable()
        assert not set(one.text) & set("{}<>|/[]#\n"), one
        assert not re.search(r"  |\.\.|,,| [,.;:]|[,;:]\.", one.text), one
        for said in sentences(one.text):
            assert re.fullmatch(r"[A-Z0-9][^.]+\.", said), one
        assert not re.search(r"(?i)\ba (?=[aeio])(?!one)", one.text), one
        assert not re.search(r"(?i)\ban (?![aeiou])", one.text), one
        assert not re.search(r"(?i)\b(\w+) \1\b", one.text.replace("wave after wave", "")), one


def sentences(text):
    return re.split(r"(?<=\.) ", text)


def test_a_mover_can_be_asked_for():
    assert {described(0, index, mover="lava").mover for index in range(5)} == {"lava"}
    with pytest.raises(ValueError, match="unknown mover 'cars'; known are sea, river"):
        described(0, 0, mover="cars")
    with pytest.raises(ValueError, match="at least 0, got -1 and 2"):
        description(-1, 2)


def test_templates():
    rng = np.random.default_rng(0)
    assert {expand(("a/an {egg|{red|blue} hen}",), rng) for _ in range(50)} == {"an egg", "a red hen", "a blue hen"}
    assert expand(("<x>, a/an <x>",), rng, {"x": "owl"}) == "owl, an owl"
    with pytest.raises(KeyError):
        expand(("<y>",), rng, {"x": "owl"})


def test_scenes_that_do_not_fit_are_refused():
    here = Place("a field", "tropical", ("a stone lies here",), ("a hill stands there",))
    snow = {"name": "snow", "only": "", "motions": ("snow falls",), "flow": "snow", "places": (here,)}
    with pytest.raises(ValueError, match=r"snow has seasons winter, and 'a field' \(tropical\) knows none of them"):
        Mover(**snow, lights=("gloom",), seasons=("winter",))
    with pytest.raises(ValueError, match=r"a light is one of clear, .*, got noon for snow"):
        Mover(**snow, lights=("noon",))
    with pytest.raises(ValueError, match=r"a climate is one of mild, .*, got 'lunar'"):
        Place("a field", "lunar", ("x",), ("y",))
    with pytest.raises(ValueError, match="got none for 'a field'"):
        Place("a field", "mild", (), ("y",))


def test_every_light_is_used_and_every_season():
    assert {light for mover in MOVERS.values() for light in mover.lights} == LIGHTS.keys()
    assert all(isinstance(light, Light) for light in LIGHTS.values())
    used = {
        (place.climate, season)
        for mover in MOVERS.values()
        for place in mover.places
        for season in mover.seasons_at(place)
    }
    assert used == {(climate, season) for climate, seasons in SEASONS.items() for season in seasons}
