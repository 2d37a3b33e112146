"""The sea: waves that roll to a shore, and what stands beside it."""

import math

import numpy as np

from steady_jax.data.nature_flow import backdrop
from steady_jax.data.nature_flow.backdrop import GROUNDS, Light, lit
from steady_jax.data.nature_flow.canvas import (
    Canvas,
    Paint,
    Region,
    Scene,
    below,
    blend,
    box,
    column,
    disc,
    mix,
    region,
)
from steady_jax.data.nature_flow.noise import moved, read, step
from steady_jax.data.nature_flow.water import water_colours
from steady_jax.data.nature_flow.words import Plan

TURN = np.float32(2 * np.pi)


def sea(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """Waves that come from the horizon, grow, break and wash up a shore."""
    light = backdrop.light(rng, plan.time)
    horizon, shore = rng.uniform(0.33, 0.43), rng.uniform(0.80, 0.87)
    image = backdrop.sky(rng, canvas, light, horizon)
    SEA_BACKS[plan.back](rng, canvas, image, light, horizon)
    if plan.place == "rocks":
        shore = 1.2
        blend(image, below(canvas, horizon), lit((0.2, 0.2, 0.22), light))
    else:
        backdrop.ground(canvas, image, light, horizon, GROUNDS[plan.place])
    slope = rng.uniform(-0.06, 0.06)  # the shore runs a little askew
    cover = below(canvas, horizon) * (1 - below(canvas, shore + 0.085 + slope * (canvas.x - canvas.aspect / 2)))
    if plan.back == "cliff":
        cover = cover * (1 - cliff_beside(rng, canvas, image, light, horizon))
    if plan.place == "rocks":
        cover = cover * (1 - rocks_in_water(rng, canvas, image, light))
    where = region(canvas, cover)
    return Scene(image, where, _waves(rng, canvas, where, light, (horizon, shore, slope)))


def _waves(
    rng: np.random.Generator, canvas: Canvas, where: Region, light: Light, place: tuple[float, float, float]
) -> Paint:
    """Paints the sea: crests in perspective, foam on the steep ones, and the wash on the shore."""
    horizon, shore, slope = place
    deep, bright, foam = water_colours(rng, light)
    down = where.y - np.float32(horizon)
    far = 1 / (np.maximum(down, 0) + np.float32(0.11))
    side = (where.x - np.float32(canvas.aspect / 2)) * far
    spacing, speed = rng.uniform(1.0, 1.35), rng.uniform(0.5, 0.65)  # crests per unit of `far`, per second
    roll = speed / spacing  # units of `far` per second
    visible = 1 - np.exp(-1 / (spacing * far * far) / np.float32(2.2 * canvas.pixel))  # too fine to see at the horizon
    near = np.minimum(down / np.float32(min(shore, 1.0) - horizon), 1)
    wide, narrow = side * np.float32(0.10), side * np.float32(0.22)
    slow, fine = far * np.float32(0.12), far * np.float32(0.35)
    drift, glow = rng.uniform(-0.02, 0.02), column(light.glow)
    level = where.y - np.float32(slope) * (where.x - np.float32(canvas.aspect / 2))  # as if the shore ran straight
    glitter = np.float32(light.time in ("dusk", "night")) * np.exp(
        -(((where.x - np.float32(light.place * canvas.aspect)) / (0.05 + 0.22 * np.maximum(down, 0))) ** 2)
    )

    def paint(seconds):
        bend = read(canvas.soft, wide + moved(drift, seconds), slow + moved(0.12 * roll, seconds))
        grain = read(canvas.rough, narrow + moved(0.03, seconds), fine + moved(0.3 * roll, seconds))
        phase = far * np.float32(spacing) + moved(speed, seconds) + bend * np.float32(0.24)
        crest = (0.5 + 0.5 * np.cos(phase * TURN)) ** 2 * visible
        colours = mix(deep, bright, 0.12 + 0.62 * crest + (0.14 * visible + 0.06) * grain + 0.22 * (1 - near))
        colours = mix(colours, glow, glitter * step(crest + 0.5 * grain, 0.0, 1.2))
        colours = mix(colours, foam, step(crest * (0.35 + 0.7 * near) + 0.26 * grain * near, 0.6, 0.85))
        if shore > 1:
            return colours, where.cover
        reach = shore + 0.035 * math.sin(2.1 * seconds) + 0.012 * math.sin(3.37 * seconds) + 0.018 * bend
        inside = (reach - level) * np.float32(1 / canvas.pixel)
        edge = step(level, shore - 0.10, shore) * step(grain + 14 * (level - reach), -1.3, -0.3)
        return mix(colours, foam, edge), np.clip(inside + 0.5, 0, 1) * where.cover

    return paint


def cliff_beside(
    rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, horizon: float
) -> np.ndarray:
    """Paints a headland that rises from the water at one side of the picture; returns what it covers [h w]."""
    wide, top = rng.uniform(0.34, 0.46) * canvas.aspect, rng.uniform(0.06, 0.16)
    from_side = (canvas.x if rng.random() < 0.5 else canvas.aspect - canvas.x) / wide
    ragged = 0.02 * np.sin(canvas.x * 31 + rng.uniform(0, 6)) + 0.015 * np.sin(canvas.x * 67)
    line = top + ragged + (horizon + 0.1 - top) * np.clip((from_side - 0.55) / 0.45, 0, 2) ** 0.8
    foot = horizon + 0.02 + 0.16 * np.clip(1 - from_side, 0, 1)
    cover = below(canvas, line) * (1 - below(canvas, foot))
    backdrop.rock(canvas, image, cover, lit((0.42, 0.35, 0.30), light))
    blend(image, cover * (1 - below(canvas, line + 0.035)), lit((0.30, 0.42, 0.18), light))
    return cover


def rocks_in_water(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light) -> np.ndarray:
    """Paints dark rocks that stand in the water near the camera; returns what they cover [h w]."""
    cover = np.zeros(image.shape[1:], np.float32)
    for place in range(4):
        x = (place + rng.uniform(0.2, 0.8)) / 4 * canvas.aspect
        size = rng.uniform(0.10, 0.17)
        base = rng.uniform(0.84, 1.02)
        cover = np.maximum(cover, backdrop.boulder(rng, canvas, x, base, size))
    backdrop.rock(canvas, image, cover, lit((0.23, 0.20, 0.19), light))
    return cover


def island(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, horizon: float) -> None:
    """An island that lies on the horizon."""
    x, wide = rng.uniform(0.25, 0.75) * canvas.aspect, rng.uniform(0.16, 0.26)
    cover = disc(canvas, x, horizon, wide, rng.uniform(0.08, 0.14))
    blend(image, cover, backdrop.hazy((0.22, 0.30, 0.18), light, 0.2))


def lighthouse(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, horizon: float) -> None:
    """A white tower with red bands on a rock at the horizon."""
    x, size = rng.uniform(0.2, 0.8) * canvas.aspect, rng.uniform(0.20, 0.25)
    blend(image, disc(canvas, x, horizon, 0.17, 0.06), backdrop.hazy((0.25, 0.23, 0.22), light, 0.1))
    foot = horizon - 0.04
    for part in range(5):
        colour = (0.78, 0.16, 0.13) if part % 2 else (0.96, 0.95, 0.93)
        half = 0.034 - 0.003 * part
        lower, upper = foot - size * part / 5, foot - size * (part + 1) / 5
        blend(image, box(canvas, x - half, x + half, upper, lower), lit(colour, light))
    lamp = (1.0, 0.92, 0.55) if light.time != "day" else (0.2, 0.2, 0.22)
    blend(image, box(canvas, x - 0.024, x + 0.024, foot - size - 0.035, foot - size), lamp)


SEA_BACKS = {
    "island": island,
    "lighthouse": lighthouse,
    "hills": backdrop.hills,
    "cliff": backdrop.nothing,
    "nothing": backdrop.nothing,
}
