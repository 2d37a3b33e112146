"""What stands still behind the moving thing: light, sky, hills, mountains, forests, houses, ground."""

import dataclasses

import numpy as np

from steady_jax.data.nature_flow import noise
from steady_jax.data.nature_flow.canvas import Canvas, Colour, below, blend, box, disc


@dataclasses.dataclass(frozen=True)
class Light:
    """The time of day, as colours."""

    time: str  # day, overcast, dusk or night
    place: float  # of sun or moon, 0 at the left edge of the picture and 1 at the right one
    high: Colour  # sky at its top
    low: Colour  # sky at the horizon
    ambient: Colour  # what the light leaves of the colour of things
    glow: Colour  # sun or moon, and what they light up


LIGHTS = {  # high, low, ambient, glow
    "day": ((0.25, 0.50, 0.88), (0.72, 0.87, 0.97), (1.0, 1.0, 0.97), (1.0, 1.0, 0.95)),
    "overcast": ((0.50, 0.54, 0.58), (0.74, 0.76, 0.78), (0.70, 0.73, 0.76), (0.88, 0.90, 0.92)),
    "dusk": ((0.30, 0.20, 0.45), (1.0, 0.58, 0.28), (0.68, 0.47, 0.46), (1.0, 0.82, 0.52)),
    "night": ((0.02, 0.03, 0.10), (0.12, 0.15, 0.30), (0.24, 0.28, 0.42), (0.78, 0.84, 0.96)),
}
GROUNDS = {
    "grass": (0.33, 0.50, 0.18),
    "sand": (0.85, 0.72, 0.46),
    "black sand": (0.17, 0.16, 0.17),
    "white sand": (0.93, 0.90, 0.82),
    "gravel": (0.55, 0.52, 0.48),
    "snow": (0.86, 0.90, 0.96),
    "earth": (0.36, 0.26, 0.18),
}
CONIFER, SNOW = (0.10, 0.22, 0.13), (0.95, 0.96, 1.0)


def light(rng: np.random.Generator, time: str) -> Light:
    """The light of a time of day, a little different each time."""
    return Light(time, rng.uniform(0.12, 0.88), *(varied(rng, colour, 0.04) for colour in LIGHTS[time]))


def varied(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """A colour with another brightness and a slightly other hue."""
    factors = (1 + amount * rng.uniform(-1.5, 1.5)) * (1 + amount * rng.uniform(-1, 1, 3))
    return np.clip(colour * factors, 0, 1)


def lit(colour: Colour, light: Light) -> Colour:
    """A thing's colour under this light."""
    return np.multiply(colour, light.ambient)


def hazy(colour: Colour, light: Light, distance: float) -> Colour:
    """A far thing takes on the colour of the horizon; `distance` 0..1."""
    haze = 0.85 * (0.6 * light.low + 0.4 * light.high)
    return lit(colour, light) * (1 - distance) + haze * distance


def sky(rng: np.random.Generator, canvas: Canvas, light: Light, horizon: float, clear: bool = True) -> np.ndarray:
    """A sky down to the horizon; where it is clear, with the sun at dusk, and with moon and stars at night.

    Returns:
        The picture [3 h w], filled everywhere.
    """
    height = np.clip(canvas.y / horizon, 0, 1) ** 1.3 + 0 * canvas.x
    high, low = (colour.astype(np.float32)[:, None, None] for colour in (light.high, light.low))
    image = (high + height * (low - high)).astype(np.float32)
    x = light.place * canvas.aspect
    if light.time == "night" and clear:
        for _ in range(14):
            place = rng.uniform((0, 0), (canvas.aspect, horizon))
            blend(image, 0.7 * disc(canvas, *place, 0.006, 0.006), (0.9, 0.9, 1.0))
        blend(image, disc(canvas, x, rng.uniform(0.25, 0.45) * horizon, 0.05, 0.05), light.glow)
    if light.time == "dusk" and clear:
        distance = np.hypot(canvas.x - x, canvas.y - horizon)
        blend(image, 0.6 * np.exp(-((distance / 0.35) ** 2)), light.glow)
        blend(image, disc(canvas, x, horizon - 0.03, 0.06, 0.06), light.glow)
    return image


def ridge(rng: np.random.Generator, canvas: Canvas, base: float, height: float, jagged: bool = False) -> np.ndarray:
    """A line y(x) [1 w] of hills, or of jagged mountains, standing on `base`."""
    line = np.zeros_like(canvas.x)
    for octave in range(5):
        wave = np.sin(canvas.x * rng.uniform(3, 6) * 1.9**octave + rng.uniform(0, 6.3))
        line += (1 - 2 * np.abs(wave) if jagged else wave) * 0.55**octave
    return base - height * np.clip(0.5 + 0.3 * line, 0, 1.2)


def hills(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, base: float) -> None:
    """Two ranges of green hills."""
    green = varied(rng, (0.30, 0.42, 0.20), 0.2)
    blend(image, below(canvas, ridge(rng, canvas, base, 0.2)), hazy(green, light, 0.55))
    blend(image, below(canvas, ridge(rng, canvas, base + 0.02, 0.1)), hazy(green, light, 0.2))


def mountains(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, base: float) -> None:
    """A jagged range with snow on its tops."""
    line = ridge(rng, canvas, base, 0.36, jagged=True)
    blend(image, below(canvas, line), hazy((0.36, 0.36, 0.44), light, 0.3))
    wavy = line.min() + 0.09 + 0.03 * np.sin(canvas.x * 40 + rng.uniform(0, 6.3))
    blend(image, below(canvas, line) * (1 - below(canvas, wavy)), hazy(SNOW, light, 0.1))


def forest(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, base: float) -> None:
    """Two rows of conifers, the farther one paler."""
    blend(image, below(canvas, ridge(rng, canvas, base, 0.12)), hazy((0.25, 0.35, 0.2), light, 0.4))
    blend(image, below(canvas, conifers(rng, canvas, base, 0.20, 12)), hazy(CONIFER, light, 0.3))
    blend(image, below(canvas, conifers(rng, canvas, base + 0.02, 0.26, 8)), lit(CONIFER, light))


def conifers(rng: np.random.Generator, canvas: Canvas, base: float, height: float, count: int) -> np.ndarray:
    """The upper edge y(x) [1 w] of a row of spruces."""
    count = max(2, round(count * canvas.aspect))
    middle = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count * canvas.aspect
    tall = height * rng.uniform(0.55, 1.0, count)
    beside = np.abs(canvas.x - middle[:, None]) / (0.26 * tall[:, None])
    branches = 0.12 * np.abs((beside * 3) % 1 - 0.5)
    top = tall[:, None] * np.clip(1 - beside + branches - 0.03, 0, 1)
    return (base - top.max(0, keepdims=True)).astype(np.float32)


def houses(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, base: float) -> None:
    """A low hill and a few houses on it."""
    blend(image, below(canvas, ridge(rng, canvas, base, 0.08)), hazy((0.30, 0.42, 0.20), light, 0.4))
    count = int(rng.integers(2, 5))
    for place in range(count):
        x = (place + rng.uniform(0.3, 0.7)) / count * canvas.aspect
        house(rng, canvas, image, light, x, base + 0.03, rng.uniform(0.10, 0.16))


def house(
    rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, x: float, base: float, size: float
) -> None:
    """A house with a roof and one window, `size` wide, standing on `base`."""
    walls = ((0.85, 0.80, 0.70), (0.70, 0.32, 0.24), (0.92, 0.92, 0.90), (0.55, 0.42, 0.30))
    wall = walls[rng.integers(len(walls))]
    eaves = base - 0.62 * size
    blend(image, box(canvas, x - size / 2, x + size / 2, eaves, base), lit(wall, light))
    roof = eaves - 0.5 * size * (1 - np.abs(canvas.x - x) / (0.62 * size))
    cover = below(canvas, roof) * (1 - below(canvas, eaves))
    blend(image, cover, lit(varied(rng, (0.42, 0.18, 0.14), 0.3), light))
    shine = (1.0, 0.85, 0.45) if light.time != "day" else (0.25, 0.3, 0.38)
    blend(image, box(canvas, x - 0.12 * size, x + 0.12 * size, base - 0.42 * size, base - 0.18 * size), shine)


def ground(canvas: Canvas, image: np.ndarray, light: Light, line: np.ndarray | float, colour: Colour) -> None:
    """Ground from a line downwards, with grain that grows towards the camera."""
    near = 1 / (np.maximum(canvas.y - np.min(line), 0) + 0.15)
    grain = noise.read(canvas.rough, (canvas.x - canvas.aspect / 2) * near * 0.3 + 0.5, near * 0.6 + 0 * canvas.x)
    tone = lit(colour, light).astype(np.float32)[:, None, None] * (1 + 0.07 * grain)
    blend(image, below(canvas, line), tone)


def rock(canvas: Canvas, image: np.ndarray, cover: np.ndarray, colour: Colour) -> None:
    """A rough surface in an already lit colour: blotches, and cracks that run down."""
    x, y = canvas.x + 0 * canvas.y, canvas.y + 0 * canvas.x
    grain = noise.read(canvas.rough, x * 0.9, y * 0.5) + 0.6 * noise.read(canvas.soft, x * 1.5, y * 0.4 + 0.3)
    blend(image, cover, np.asarray(colour, np.float32)[:, None, None] * (1 + 0.22 * grain))


def boulder(rng: np.random.Generator, canvas: Canvas, x: float, base: float, size: float) -> np.ndarray:
    """Covers an uneven stone, `size` high and a little wider, that stands in water or sand at `base`."""
    angle = np.arctan2(canvas.y - base, canvas.x - x)
    uneven = sum(0.16 / turn**0.5 * np.sin(turn * angle + rng.uniform(0, 6.3)) for turn in (2, 3, 5))
    distance = np.hypot((canvas.x - x) / (rng.uniform(1.0, 1.4) * size), (canvas.y - base) / size)
    line = base + 0.15 * size * (1 - np.clip((canvas.x - x) / size, -1, 1) ** 2)
    return np.clip((1 + uneven - distance) * size / canvas.pixel + 0.5, 0, 1) * (1 - below(canvas, line))


def nothing(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, base: float) -> None:
    """An empty horizon."""


BACKS = {"hills": hills, "mountains": mountains, "forest": forest, "houses": houses, "nothing": nothing, "sky": nothing}
