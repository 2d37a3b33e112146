"""Water that runs: a river between its banks, a waterfall."""

import numpy as np

from steady_jax.data.nature_flow import backdrop, noise
from steady_jax.data.nature_flow.backdrop import GROUNDS, Light, lit, varied
from steady_jax.data.nature_flow.canvas import (
    Canvas,
    Paint,
    Region,
    Scene,
    below,
    blend,
    column,
    mix,
    region,
)
from steady_jax.data.nature_flow.noise import moved, read, step
from steady_jax.data.nature_flow.words import Plan

WATERS = {  # deep water, and water that shows the sky
    "day": ((0.03, 0.22, 0.42), (0.38, 0.66, 0.78)),
    "overcast": ((0.12, 0.22, 0.26), (0.56, 0.64, 0.66)),
    "dusk": ((0.17, 0.10, 0.26), (0.86, 0.50, 0.36)),
    "night": ((0.02, 0.04, 0.11), (0.26, 0.32, 0.50)),
}
CLIFFS = {
    "grey": (0.45, 0.44, 0.43),
    "green": (0.24, 0.36, 0.17),
    "red": (0.60, 0.30, 0.20),
    "dark": (0.17, 0.17, 0.19),
}


def water_colours(rng: np.random.Generator, light: Light) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours [3 1] of deep water, of water that shows the sky, and of foam."""
    deep, bright = (varied(rng, colour, 0.08) for colour in WATERS[light.time])
    return column(deep), column(bright), column(0.4 + 0.6 * light.ambient)


def river(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """A river that winds from the horizon towards the camera."""
    light = backdrop.light(rng, plan.time)
    horizon = rng.uniform(0.28, 0.36)
    image = backdrop.sky(rng, canvas, light, horizon)
    backdrop.BACKS[plan.back](rng, canvas, image, light, horizon)
    backdrop.ground(canvas, image, light, horizon + 0.01, GROUNDS[plan.place])
    down = np.maximum(canvas.y - np.float32(horizon + 0.03), 0)
    far = 1 / (down + 0.12)
    start = canvas.aspect * rng.uniform(0.42, 0.58)
    bends, turns = rng.uniform(0.14, 0.24), rng.uniform(1.8, 3.4)
    middle = start + bends * np.sin(turns * np.log(far) + rng.uniform(0, 6.3)) * (0.14 + 1.2 * down)
    half = rng.uniform(0.62, 0.76) * (down + 0.006) ** 0.85 * min(canvas.aspect, 1.4)
    across = (canvas.x - middle) / half  # -1 at the left bank, 1 at the right one
    wet = np.clip((1 - np.abs(across)) * half / canvas.pixel + 0.5, 0, 1)
    bank = np.clip((1.12 - np.abs(across)) * half / canvas.pixel + 0.5, 0, 1) * below(canvas, horizon + 0.03)
    blend(image, bank, 0.55 * lit(GROUNDS[plan.place], light))
    cover = wet * below(canvas, horizon + 0.03)
    cover = cover * (1 - stones(rng, canvas, image, light, middle, half))
    where = region(canvas, cover)
    along = np.broadcast_to(far, cover.shape)[where.inside]
    return Scene(image, where, _stream(rng, canvas, where, light, across[where.inside], along))


def stones(
    rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, middle: np.ndarray, half: np.ndarray
) -> np.ndarray:
    """Paints a few stones that stand in the river; returns what they cover [h w]."""
    cover = np.zeros(image.shape[1:], np.float32)
    for _ in range(rng.integers(0, 4)):
        row = min(int(rng.uniform(0.55, 0.95) * image.shape[1]), image.shape[1] - 1)
        centre, reach, base = float(middle[row, 0]), float(half[row, 0]), float(canvas.y[row, 0])
        stone = backdrop.boulder(rng, canvas, centre + rng.uniform(-0.6, 0.6) * reach, base, 0.14 * reach + 0.02)
        cover = np.maximum(cover, stone)
    backdrop.rock(canvas, image, cover, lit((0.36, 0.35, 0.34), light))
    return cover


def _stream(
    rng: np.random.Generator, canvas: Canvas, where: Region, light: Light, across: np.ndarray, along: np.ndarray
) -> Paint:
    """Paints running water: streaks and ripples that come down the river, white where steep and at the banks."""
    deep, bright, foam = water_colours(rng, light)
    speed = rng.uniform(0.24, 0.34)  # periods per second
    slower, faster = speed * rng.uniform(0.7, 0.85), speed * rng.uniform(1.5, 1.8)
    across, along = across.astype(np.float32), along.astype(np.float32)
    calm = 1 - np.exp(-np.float32(0.06 / canvas.pixel) / (along * along))  # too fine to see at the horizon
    lines, ripples = across * np.float32(0.42), across * np.float32(0.26) + np.float32(0.5)
    long, short = along * np.float32(0.17), along * np.float32(0.36)
    edge = 0.6 * step(np.abs(across), 0.78, 1.0)

    def paint(seconds):
        bend = read(canvas.soft, ripples, long + moved(slower, seconds))
        streak = read(canvas.rough, lines + moved(0.011, seconds) + 0.03 * bend, long + moved(speed, seconds))
        ripple = read(canvas.rough, ripples - moved(0.017, seconds) + 0.03 * bend, short + moved(faster, seconds))
        shine = (0.75 * streak + 0.65 * ripple + 0.45 * bend) * calm
        colours = mix(deep, bright, np.minimum(np.maximum(0.42 + 0.5 * shine, 0), 1))
        return mix(colours, foam, step(shine + edge, 0.65, 1.25)), where.cover

    return paint


def waterfall(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """A cliff with a broad fall in its middle and a pool at its foot."""
    light = backdrop.light(rng, plan.time)
    top, foot = rng.uniform(0.14, 0.24), rng.uniform(0.76, 0.83)
    image = backdrop.sky(rng, canvas, light, top + 0.1)
    backdrop.BACKS[plan.back](rng, canvas, image, light, top + 0.01)
    edge = top + 0.02 * np.sin(canvas.x * 9 + rng.uniform(0, 6)) + 0.01 * np.sin(canvas.x * 29)
    backdrop.rock(canvas, image, below(canvas, edge), lit(varied(rng, CLIFFS[plan.place], 0.1), light))
    middle, half = rng.uniform(0.4, 0.6) * canvas.aspect, rng.uniform(0.20, 0.28) * min(canvas.aspect, 1.5)
    drop = np.clip((canvas.y - top) / (foot - top), 0, 1)
    side = 0.3 * np.sign(canvas.x - middle) + 0 * canvas.y
    ragged = 0.022 * noise.read(canvas.rough, side, 0.5 * canvas.y + 0 * canvas.x)
    inside = half * (0.82 + 0.22 * drop) + ragged - np.abs(canvas.x - middle)
    falls = (
        np.clip(inside / canvas.pixel / 2 + 0.5, 0, 1) * below(canvas, top - 0.005) * (1 - below(canvas, foot + 0.02))
    )
    bay = foot + 0.05 * np.abs(canvas.x - middle) / half + 0.01 * np.sin(canvas.x * 17)
    pool = below(canvas, np.minimum(bay, 0.93))
    where = region(canvas, np.maximum(falls, pool))
    return Scene(image, where, _falling_water(rng, canvas, where, light, (middle, half, top, foot)))


def _falling_water(
    rng: np.random.Generator, canvas: Canvas, where: Region, light: Light, place: tuple[float, float, float, float]
) -> Paint:
    """Paints the fall: streaks that speed up as they drop; below it a pool that boils white and runs off."""
    middle, half, top, foot = map(np.float32, place)
    deep, bright, foam = water_colours(rng, light)
    speed = rng.uniform(0.55, 0.7)
    faster = speed * rng.uniform(1.1, 1.35)
    fallen = np.sqrt(np.maximum(where.y - top, 0) + np.float32(0.03))  # grows as the time since the edge does
    beside = (where.x - middle) / half
    threads, strands = where.x * np.float32(1.5), where.x * np.float32(0.8) + np.float32(0.37)
    shadow = 0.75 * deep + 0.25 * bright
    below_foot = np.maximum(where.y - foot, 0)
    pool = step(where.y, float(foot) - 0.02, float(foot) + 0.03)
    impact = np.exp(-((beside / np.float32(1.2)) ** 2) - (below_foot / np.float32(0.08)) ** 2)
    near = 1 / (below_foot + np.float32(0.12))

    def paint(seconds):
        thread = read(canvas.rough, threads + moved(0.009, seconds), fallen * np.float32(0.55) - moved(speed, seconds))
        strand = read(canvas.soft, strands - moved(0.013, seconds), fallen * np.float32(0.9) - moved(faster, seconds))
        shade = 0.56 + 0.34 * thread + 0.16 * strand
        water = mix(shadow, foam, np.minimum(np.maximum(shade, 0), 1))
        swell = read(
            canvas.rough,
            beside * near * np.float32(0.05) + np.float32(0.2),
            near * np.float32(0.10) + moved(0.13, seconds),
        )
        boil = read(canvas.soft, where.x * np.float32(1.5) + moved(0.21, seconds), where.y * 3 - moved(0.35, seconds))
        basin = mix(
            mix(deep, bright, np.clip(0.35 + 0.3 * swell, 0, 1)),
            foam,
            step(1.5 * impact + 0.3 * boil + 0.2 * swell, 0.5, 1.1),
        )
        return mix(water, basin, pool), where.cover

    return paint
