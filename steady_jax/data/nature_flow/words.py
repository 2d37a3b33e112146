"""What a clip shows, drawn at random, and a sentence that says so as a person would."""

import dataclasses

import numpy as np

TIMES = {
    "day": ("in daylight", "on a clear day", "on a sunny day", "at midday", "in bright sunshine", "by day"),
    "overcast": ("on an overcast day", "under a grey sky", "on a grey day", "in dull light", "on a dull day"),
    "dusk": ("at dusk", "at sunset", "in the evening light", "at sundown", "in the warm light of evening"),
    "night": ("at night", "by night", "under the moon", "in the moonlight", "after dark"),
}
DIM = {  # where neither sun nor moon is to be seen
    "overcast": TIMES["overcast"],
    "dusk": ("at dusk", "in the evening", "at twilight", "in the evening twilight"),
    "night": ("at night", "by night", "after dark", "in the dark"),
}
CAMERA = ("fixed camera", "static camera", "still camera", "locked-off shot", "the camera does not move", "tripod shot")
BACKS = {
    "hills": ("hills in the background", "rolling hills behind", "hills in the distance", "hills along the horizon"),
    "mountains": ("snowy mountains behind", "mountains in the background", "snow-capped peaks in the distance"),
    "forest": ("a forest behind", "fir trees in the background", "pine trees in the distance", "dark conifers behind"),
    "houses": ("houses in the background", "a few houses behind", "a small village in the distance"),
    "island": ("an island on the horizon", "an island far out", "a small island in the distance"),
    "lighthouse": ("a lighthouse in the distance", "a lighthouse on a rock", "a lighthouse standing by the water"),
    "cliff": ("a cliff at the side", "a steep cliff beside it", "a rocky headland"),
    "sky": ("nothing but sky above", "open sky above it", "only the sky behind"),
    "nothing": ("an empty horizon", "a flat horizon", "nothing else in sight"),
}

STYLES = (  # words about the picture that people add to any prompt, and that change nothing
    "cinematic",
    "4k",
    "realistic",
    "photorealistic",
    "highly detailed",
    "beautiful",
    "peaceful",
    "relaxing",
    "calm mood",
    "natural light",
    "wide shot",
    "high quality",
    "nature documentary",
    "no people",
)
STYLED = 0.2  # share of the prompts


@dataclasses.dataclass(frozen=True)
class Grammar:
    """The words of one kind."""

    motion: tuple[str, ...]  # what moves, without its place
    places: dict[str, tuple[str, ...]]  # where it moves
    backs: tuple[str, ...]  # what may stand behind
    times: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: TIMES)  # when


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a clip shows."""

    kind: str
    place: str
    back: str
    time: str
    prompt: str


GRAMMARS = {
    "sea": Grammar(
        (
            "waves roll",
            "waves break",
            "the sea washes",
            "surf rolls in",
            "ocean waves come in",
            "the surf rushes",
            "gentle waves lap",
            "the ocean surges",
            "big waves crash",
            "a stormy sea breaks",
        ),
        {
            "sand": ("onto a sandy beach", "onto golden sand", "over a yellow beach"),
            "black sand": ("onto a black beach", "onto black sand", "over a beach of black volcanic sand"),
            "white sand": ("onto a white beach", "onto white sand", "over a pale beach"),
            "gravel": ("onto a pebble beach", "onto a shingle beach", "over grey pebbles"),
            "rocks": ("against dark rocks", "around rocks", "onto a rocky shore"),
        },
        ("island", "lighthouse", "cliff", "hills", "nothing"),
    ),
    "river": Grammar(
        (
            "a river flows",
            "a river runs",
            "a stream runs",
            "a river winds",
            "water flows down a river",
            "a stream flows",
            "a brook babbles",
            "a creek winds",
            "a wide river glides",
        ),
        {
            "grass": ("through a meadow", "between grassy banks", "through green grassland"),
            "gravel": ("between gravel banks", "through a stony bed", "between banks of grey stones"),
            "snow": ("between snowy banks", "through a snow field", "through deep snow"),
            "earth": ("between bare brown banks", "between muddy banks", "through brown earth"),
        },
        ("hills", "mountains", "forest", "houses", "nothing"),
    ),
    "waterfall": Grammar(
        (
            "a waterfall drops",
            "a waterfall pours",
            "water falls",
            "a waterfall plunges",
            "a cascade tumbles",
            "a tall waterfall thunders",
            "white water cascades",
        ),
        {
            "grey": ("over a grey cliff", "down a grey rock face", "from a grey stone cliff"),
            "green": ("over a mossy cliff", "down a green, mossy rock face", "from a cliff covered in moss"),
            "red": ("over a red cliff", "down a red sandstone wall", "from a cliff of red rock"),
            "dark": ("over a black cliff", "down a dark basalt wall", "from a dark cliff"),
        },
        ("forest", "hills", "sky"),
    ),
    "fire": Grammar(
        (
            "a campfire burns",
            "a fire burns",
            "flames flicker",
            "a bonfire blazes",
            "flames leap up",
            "a wood fire burns",
            "a blaze roars",
            "a bright fire crackles",
        ),
        {
            "grass": ("on the grass", "in a meadow", "on a grassy clearing"),
            "sand": ("on a sandy beach", "on the sand", "on yellow sand"),
            "snow": ("in the snow", "on snowy ground", "on a snow field"),
            "earth": ("on bare earth", "on brown ground", "on the bare ground"),
        },
        ("hills", "mountains", "forest", "houses", "nothing"),
    ),
    "clouds": Grammar(
        (
            "clouds drift",
            "clouds move",
            "clouds pass",
            "clouds sail",
            "big clouds float",
            "clouds travel",
            "white clouds glide",
            "fluffy clouds cross the sky",
        ),
        {
            "grass": ("over a meadow", "above green fields", "over grassland"),
            "sand": ("over a desert", "above a sandy plain", "over yellow sand"),
            "snow": ("over a snow field", "above a snowy plain", "over snow-covered land"),
            "earth": ("over bare fields", "above brown fields", "over ploughed land"),
        },
        ("hills", "mountains", "forest", "houses", "nothing"),
    ),
    "fog": Grammar(
        (
            "fog drifts",
            "fog banks roll",
            "mist drifts",
            "fog creeps",
            "thick mist moves",
            "dense fog rolls",
            "a misty haze floats",
            "foggy air moves",
        ),
        {
            "forest": ("through a fir forest", "between dark conifers", "through pine woods"),
            "houses": ("through a village", "between houses", "past the houses of a village"),
            "hills": ("over the hills", "across rolling hills", "through a hilly valley"),
            "mountains": ("below snowy mountains", "at the foot of the mountains", "along a mountain range"),
        },
        (),
        DIM,
    ),
    "smoke": Grammar(
        (
            "smoke rises",
            "smoke billows",
            "thick smoke climbs",
            "a plume of smoke rises",
            "smoke pours",
            "dark smoke drifts up",
            "a smoke column rises",
        ),
        {
            "chimney": ("from a chimney", "from the chimney of a house", "from the chimney of a cottage"),
            "volcano": ("from a volcano", "from the crater of a volcano", "out of a volcano"),
            "embers": ("from a heap of logs", "from a smouldering wood pile", "from smouldering logs"),
        },
        ("hills", "forest", "nothing"),
    ),
    "rain": Grammar(
        (
            "rain falls",
            "heavy rain falls",
            "rain pours down",
            "it rains hard",
            "it is raining",
            "rain comes down",
            "raindrops fall",
            "a rainstorm beats down",
        ),
        {
            "window": ("outside a window", "behind a window", "outside, seen through a window"),
            "porch": ("beyond a wooden porch", "outside, seen from a porch", "in front of a porch"),
            "cave": ("outside a cave", "outside, seen from a cave", "at the mouth of a cave"),
            "arch": ("behind a stone arch", "outside, seen through a stone archway", "beyond a stone gateway"),
        },
        ("hills", "mountains", "forest", "houses"),
        DIM,
    ),
    "snow": Grammar(
        (
            "snow falls",
            "it is snowing",
            "big snowflakes fall",
            "snowflakes drift down",
            "thick snow falls",
            "it snows",
            "a snowstorm blows",
            "light snow falls",
        ),
        {
            "window": ("outside a window", "behind a window", "outside, seen through a window"),
            "porch": ("beyond a wooden porch", "outside, seen from a porch", "in front of a porch"),
            "cave": ("outside a cave", "outside, seen from a cave", "at the mouth of a cave"),
            "arch": ("behind a stone arch", "outside, seen through a stone archway", "beyond a stone gateway"),
        },
        ("hills", "mountains", "forest", "houses"),
        DIM,
    ),
}
FORMS = (  # {what} moves where, {when}, what is {behind}
    "{what} {when}, {behind}, {camera}.",
    "{what} {when}, {camera}.",
    "{what}, {behind}, {when}, {camera}.",
    "{when}, {what}, {behind}. {camera}.",
    "{when}, {what}. {camera}.",
    "{what} {when}, with {behind}.",
    "{camera}: {what} {when}, {behind}.",
)


def plan(rng: np.random.Generator, kind: str) -> Plan:
    """Draws what a clip of this kind shows, and its prompt."""
    grammar = GRAMMARS[kind]
    place = _one(rng, tuple(grammar.places))
    back = _one(rng, grammar.backs) if grammar.backs else place
    time = _one(rng, tuple(grammar.times))
    return Plan(kind, place, back, time, _sentence(rng, grammar, place, back, time))


def _sentence(rng: np.random.Generator, grammar: Grammar, place: str, back: str, time: str) -> str:
    """A sentence in one of FORMS, sometimes with words of style behind it.

    Where the place is all there is to see, a form that says nothing more of it.
    """
    forms = FORMS if grammar.backs else tuple(form for form in FORMS if "{behind}" not in form)
    sentence = _one(rng, forms).format(
        what=f"{_one(rng, grammar.motion)} {_one(rng, grammar.places[place])}",
        when=_one(rng, grammar.times[time]),
        behind=_one(rng, BACKS[back]),
        camera=_one(rng, CAMERA),
    )
    if rng.random() < STYLED:
        sentence += f" {', '.join(rng.choice(STYLES, rng.integers(1, 4), replace=False))}."
    return ". ".join(part[:1].upper() + part[1:] for part in sentence.split(". "))


def _one(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]
