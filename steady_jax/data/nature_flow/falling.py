"""Rain and snow, seen from a dry place: through a window, from a porch, a cave or an archway.

Drops and flakes live in cells. A column of cells falls with a speed of its own; what a cell holds is read from a table
by its column and its number, so a thousand cells pass before a column repeats, and no two repeat together.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from steady_jax.data.nature_flow import backdrop
from steady_jax.data.nature_flow.backdrop import GROUNDS, Light, lit, varied
from steady_jax.data.nature_flow.canvas import Canvas, Region, Scene, below, blend, box, column, disc, region
from steady_jax.data.nature_flow.words import Plan

COLUMNS, CELLS = 64, 1024  # of the table


@dataclasses.dataclass(frozen=True)
class Layer:
    """One depth of falling things."""

    columns: float  # per picture height
    cells: float  # per picture height and column
    speed: float  # cells per second
    share: float  # of cells that hold something
    wide: float  # half width of a thing, in columns
    opacity: float
    sway: float  # to each side, in columns


RAIN = (Layer(17, 4.2, 5.5, 0.40, 0.20, 0.55, 0.0), Layer(10, 2.9, 5.0, 0.42, 0.19, 0.9, 0.0))
SNOW = (
    Layer(11, 11, 2.8, 0.45, 0.20, 0.75, 0.14),
    Layer(8, 8, 2.7, 0.50, 0.20, 0.9, 0.14),
    Layer(6, 6, 2.5, 0.50, 0.18, 1.0, 0.14),
)


def rain(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """Long streaks in front of a wet landscape."""
    image, where, light = _outside(rng, canvas, plan, "grass")
    slant = rng.uniform(0.08, 0.30) * rng.choice((-1, 1))
    layers = [_layer(rng, where, layer, slant, _streak) for layer in RAIN]
    white = column(0.45 + 0.55 * light.ambient)

    def paint(seconds):
        clear = np.float32(1)
        for streaks in layers:
            clear = clear * (1 - streaks(seconds))
        return white, (1 - clear) * where.cover

    return Scene(image, where, paint)


def snow(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """Big flakes in front of a white landscape."""
    image, where, light = _outside(rng, canvas, plan, "snow")
    wind = rng.uniform(-0.25, 0.25)
    layers = [_layer(rng, where, layer, wind, _flake) for layer in SNOW]
    white = column(0.55 + 0.45 * light.ambient)

    def paint(seconds):
        clear = np.float32(1)
        for flakes in layers:
            clear = clear * (1 - flakes(seconds))
        return white, (1 - clear) * where.cover

    return Scene(image, where, paint)


Shape = Callable[[np.ndarray, np.ndarray, Layer], np.ndarray]  # place in the cell, across and down -> opacity


def _layer(
    rng: np.random.Generator, where: Region, layer: Layer, slant: float, shape: Shape
) -> Callable[[float], np.ndarray]:
    """A function of seconds that gives the opacity of one layer [n]."""
    x = (where.x - np.float32(slant) * where.y) * np.float32(layer.columns) + np.float32(rng.uniform(0, COLUMNS))
    whole = np.floor(x)
    beside = x - whole - np.float32(0.5)
    lane = whole.astype(np.int32) % COLUMNS
    down = where.y * np.float32(layer.cells)
    speeds, phases = layer.speed * rng.uniform(0.85, 1.2, COLUMNS), rng.uniform(0, CELLS, COLUMNS)
    held = (rng.random(COLUMNS * CELLS, np.float32) < layer.share).astype(np.float32) * np.float32(layer.opacity)
    room = 0.5 - 1.3 * layer.wide - layer.sway  # so that nothing leaves its cell
    shifts = rng.uniform(-room, room, COLUMNS * CELLS).astype(np.float32)
    swings, starts = rng.uniform(1.5, 3.0, COLUMNS), rng.uniform(0, 6.3, COLUMNS)

    def opacity(seconds):
        fallen = ((phases - speeds * seconds) % CELLS).astype(np.float32)
        place = down + fallen.take(lane)
        cell = np.floor(place)
        index = (cell.astype(np.int32) & (CELLS - 1)) + lane * CELLS
        swung = (layer.sway * np.sin(swings * seconds + starts)).astype(np.float32)
        return held.take(index) * shape(beside - swung.take(lane) - shifts.take(index), place - cell, layer)

    return opacity


def _streak(beside: np.ndarray, along: np.ndarray, layer: Layer) -> np.ndarray:
    """A long drop with soft ends."""
    core = np.clip(1.3 - np.abs(beside) * np.float32(1 / layer.wide), 0, 1)
    return core * np.clip(6 * along * (1 - along), 0, 1)


def _flake(beside: np.ndarray, along: np.ndarray, layer: Layer) -> np.ndarray:
    """A round flake with a soft edge."""
    along = along - np.float32(0.5)
    return np.clip(1.6 - (beside * beside + along * along) * np.float32(1 / layer.wide**2), 0, 1)


def _outside(rng: np.random.Generator, canvas: Canvas, plan: Plan, ground: str) -> tuple[np.ndarray, Region, Light]:
    """The landscape, and in front of it the frame through which it is seen."""
    light = backdrop.light(rng, plan.time)
    horizon = rng.uniform(0.52, 0.62)
    image = backdrop.sky(rng, canvas, light, horizon, clear=False) * np.float32(0.8)
    backdrop.BACKS[plan.back](rng, canvas, image, light, horizon)
    backdrop.ground(canvas, image, light, horizon + 0.01, GROUNDS[ground])
    image *= np.float32(0.72)  # the wet air swallows light
    opening = FRAMES[plan.place](rng, canvas, image, light)
    return image, region(canvas, opening), light


def window(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light) -> np.ndarray:
    """Paints a wall with a window; returns its panes [h w]."""
    left, right = rng.uniform(0.12, 0.17) * canvas.aspect, rng.uniform(0.83, 0.88) * canvas.aspect
    top, bottom = rng.uniform(0.07, 0.12), rng.uniform(0.84, 0.90)
    wall = lit(varied(rng, ((0.62, 0.50, 0.38), (0.50, 0.55, 0.60), (0.66, 0.60, 0.50))[rng.integers(3)], 0.1), light)
    frame = lit(varied(rng, (0.92, 0.90, 0.86), 0.05), light)
    panes = box(canvas, left, right, top, bottom)
    rim = box(canvas, left - 0.045, right + 0.045, top - 0.045, bottom + 0.06)
    middle = (left + right) / 2
    bars = np.maximum(box(canvas, middle - 0.02, middle + 0.02, top, bottom), box(canvas, left, right, 0.44, 0.475))
    panes = panes * (1 - bars)
    blend(image, 1 - rim, wall)
    blend(image, rim * (1 - panes), frame)
    return panes


def porch(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light) -> np.ndarray:
    """Paints a roof edge, posts and a floor of boards; returns what lies between them [h w]."""
    roof, floor = rng.uniform(0.13, 0.18), rng.uniform(0.80, 0.85)
    wood = varied(rng, (0.46, 0.32, 0.20), 0.15)
    posts = [canvas.aspect * place for place in (rng.uniform(0.06, 0.12), rng.uniform(0.88, 0.94))]
    opening = below(canvas, roof) * (1 - below(canvas, floor)) + 0 * canvas.x
    for x in posts:
        opening = opening * (1 - box(canvas, x - 0.035, x + 0.035, -1.0, 2.0))
    rail = box(canvas, -1.0, 9.0, floor - 0.14, floor - 0.105)
    opening = opening * (1 - rail)
    boards = 0.8 + 0.2 * (np.sin(canvas.y * 90) > -0.6)
    blend(image, 1 - opening, (wood[:, None, None] * boards + 0 * canvas.x) * light.ambient[:, None, None])
    blend(image, 1 - below(canvas, roof - 0.03) + 0 * canvas.x, 0.6 * lit(wood, light))
    return opening


def cave(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light) -> np.ndarray:
    """Paints dark rock around a ragged mouth; returns the mouth [h w]."""
    x, y = canvas.aspect * rng.uniform(0.46, 0.54), rng.uniform(0.50, 0.56)
    angle = np.arctan2(canvas.y - y, canvas.x - x)
    ragged = sum(0.05 / turn**0.5 * np.sin(turn * angle + rng.uniform(0, 6.3)) for turn in (2, 3, 5, 8))
    distance = np.hypot((canvas.x - x) / (0.41 * canvas.aspect), (canvas.y - y) / 0.40)
    mouth = np.clip((1 + ragged - distance) * 0.42 / canvas.pixel + 0.5, 0, 1)
    backdrop.rock(canvas, image, 1 - mouth, 0.16 * light.ambient + 0.03)
    return mouth


def arch(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light) -> np.ndarray:
    """Paints a wall of stone blocks with an archway; returns the archway [h w]."""
    x, half = canvas.aspect / 2, rng.uniform(0.34, 0.38) * canvas.aspect
    spring, foot = 0.45, rng.uniform(0.90, 0.95)
    opening = np.maximum(box(canvas, x - half, x + half, spring, foot), disc(canvas, x, spring, half, 0.37))
    opening = opening * (1 - below(canvas, foot))
    row = np.floor(canvas.y * 9)
    joint = (canvas.y * 9 % 1 < 0.14) | ((canvas.x * 5 + 0.5 * (row % 2)) % 1 < 0.09)
    stone = lit(varied(rng, (0.60, 0.56, 0.50), 0.1), light)[:, None, None]
    blend(image, 1 - opening, stone * np.where(joint, 0.65, 1.0))
    return opening


FRAMES = {"window": window, "porch": porch, "cave": cave, "arch": arch}
