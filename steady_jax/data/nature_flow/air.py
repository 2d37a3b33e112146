"""What the wind carries: clouds, fog and smoke."""

import numpy as np

from steady_jax.data.nature_flow import backdrop
from steady_jax.data.nature_flow.backdrop import GROUNDS, Light, lit, varied
from steady_jax.data.nature_flow.canvas import (
    Canvas,
    Paint,
    Region,
    Scene,
    beam,
    below,
    blend,
    box,
    column,
    mix,
    region,
)
from steady_jax.data.nature_flow.noise import moved, read, step
from steady_jax.data.nature_flow.words import Plan

CLOUDS = {  # lit edge and shaded middle
    "day": ((1.0, 1.0, 1.0), (0.66, 0.70, 0.77)),
    "overcast": ((0.92, 0.93, 0.95), (0.22, 0.24, 0.28)),
    "dusk": ((1.0, 0.72, 0.45), (0.42, 0.24, 0.38)),
    "night": ((0.52, 0.57, 0.70), (0.16, 0.18, 0.27)),
}


def clouds(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """Clouds that fill the sky above a strip of land."""
    light = backdrop.light(rng, plan.time)
    horizon = rng.uniform(0.60, 0.68)
    image = backdrop.sky(rng, canvas, light, horizon)
    free = 1 - below(canvas, horizon) + 0 * canvas.x
    sky = image.copy()
    backdrop.BACKS[plan.back](rng, canvas, image, light, horizon)
    free = free * (np.abs(image - sky).max(0) < 0.004)
    backdrop.ground(canvas, image, light, horizon + 0.01, GROUNDS[plan.place])
    where = region(canvas, free)
    return Scene(image, where, _cloud_cover(rng, canvas, where, light, horizon))


def _cloud_cover(rng: np.random.Generator, canvas: Canvas, where: Region, light: Light, horizon: float) -> Paint:
    """Paints clouds on a ceiling seen in perspective: smaller and slower towards the horizon."""
    edge, core = (column(varied(rng, colour, 0.04)) for colour in CLOUDS[light.time])
    near = 1 / (np.float32(horizon) - where.y + np.float32(0.45))
    x = (where.x - np.float32(canvas.aspect / 2)) * near * np.float32(0.32)
    y = near * np.float32(0.75)
    wind = rng.uniform(0.09, 0.13) * rng.choice((-1, 1))
    fade = step(np.float32(horizon) - where.y, -0.02, 0.12) * np.float32(0.95)
    full = rng.uniform(-0.25, 0.1)  # where it is thicker than this there is a cloud
    puff_y, lifted = y * np.float32(1.6) + np.float32(0.3), np.float32(0.05)

    def paint(seconds):
        bank = read(canvas.soft, x * np.float32(0.8) + moved(0.8 * wind, seconds), y + moved(0.011, seconds))
        puff_x = x * np.float32(1.3) + moved(1.43 * wind, seconds)
        puff = read(canvas.rough, puff_x, puff_y)
        relief = puff - read(canvas.rough, puff_x, puff_y - lifted)  # falls where a cloud turns its underside to us
        thick = 0.75 * bank + 0.6 * puff
        shade = step(thick - 0.5 * relief, full - 0.1, full + 2.0)
        return mix(edge, core, shade), step(thick, full, full + 0.55) * fade * where.cover

    return paint


def fog(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """Banks of fog that drift in front of what stands in the valley."""
    light = backdrop.light(rng, plan.time)
    horizon = rng.uniform(0.50, 0.60)
    image = backdrop.sky(rng, canvas, light, horizon)
    backdrop.BACKS[plan.back](rng, canvas, image, light, horizon)
    green = varied(rng, (0.22, 0.28, 0.16), 0.2)
    backdrop.ground(canvas, image, light, horizon + 0.02, green)
    if plan.back == "forest":
        spruces = backdrop.conifers(rng, canvas, horizon + 0.16, 0.34, 5)
        blend(image, below(canvas, spruces) * (1 - below(canvas, horizon + 0.16)), lit(backdrop.CONIFER, light))
    else:
        near = below(canvas, backdrop.ridge(rng, canvas, horizon + 0.22, 0.16))
        blend(image, near, 0.7 * lit(green, light))
    middle, half = horizon + rng.uniform(0.02, 0.08), rng.uniform(0.23, 0.27)
    cover = np.clip(1.25 - ((canvas.y - middle) / half) ** 2, 0, 1) + 0 * canvas.x
    where = region(canvas, cover)
    return Scene(image, where, _banks(rng, canvas, where, light))


def _banks(rng: np.random.Generator, canvas: Canvas, where: Region, light: Light) -> Paint:
    """Paints flat, long banks that drift over each other."""
    pale = column(0.38 + 0.57 * light.ambient)
    grey = 0.82 * pale
    wind = rng.uniform(0.09, 0.14) * rng.choice((-1, 1))
    x, y = where.x * np.float32(0.30), where.y * np.float32(0.85)

    def paint(seconds):
        bank = read(canvas.soft, x + moved(wind, seconds), y + moved(0.013, seconds))
        wisp = read(canvas.rough, x * np.float32(1.7) + moved(1.9 * wind, seconds), y * np.float32(1.4) + 0.04 * bank)
        thick = bank + 0.45 * wisp
        return mix(grey, pale, step(wisp, -1, 1)), step(thick, -1.0, 0.7) * np.float32(0.97) * where.cover

    return paint


def smoke(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """A plume that rises from a chimney, a volcano or a heap of logs and leaves through the top of the picture."""
    light = backdrop.light(rng, plan.time)
    horizon = rng.uniform(0.70, 0.76)
    image = backdrop.sky(rng, canvas, light, horizon)
    backdrop.BACKS[plan.back](rng, canvas, image, light, horizon)
    backdrop.ground(canvas, image, light, horizon + 0.01, varied(rng, GROUNDS["grass"], 0.2))
    x, lean = rng.uniform(0.30, 0.70) * canvas.aspect, rng.uniform(0.10, 0.32)
    lean = lean if x < canvas.aspect / 2 else -lean
    y, start = SOURCES[plan.place](rng, canvas, image, light, x)
    up = np.maximum(y - canvas.y, 0)
    middle = x + lean * (up / y) ** 1.4 * y * 1.2
    wide = start + rng.uniform(0.56, 0.68) * up**0.9
    across = (canvas.x - middle) / wide
    cover = step(1.45 - np.abs(across), 0, 0.3) * (1 - below(canvas, y))
    where = region(canvas, cover)
    rise = np.broadcast_to(np.log(up + 0.2), cover.shape)[where.inside].astype(np.float32)
    colours = _smoke_colours(light)
    return Scene(image, where, _plume(rng, canvas, where, across[where.inside].astype(np.float32), rise, colours))


def _smoke_colours(light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Colours [3 1] of the lit and the shaded billows."""
    tones = {"day": (1.0, 0.38), "overcast": (0.52, 0.06), "dusk": (0.46, 0.05), "night": (0.70, 0.15)}
    bright, dark = tones[light.time]
    tint = np.array((1.0, 0.99, 1.0)) if light.time != "dusk" else np.array((1.15, 0.95, 0.9))
    return column(bright * tint), column(dark * tint)


def _plume(
    rng: np.random.Generator,
    canvas: Canvas,
    where: Region,
    across: np.ndarray,
    rise: np.ndarray,
    colours: tuple[np.ndarray, np.ndarray],
) -> Paint:
    """Paints billows that grow as they rise; `across` is -1..1 between the edges, `rise` the log of the height."""
    bright, dark = colours
    speed = rng.uniform(0.26, 0.34)
    slower = speed * rng.uniform(0.7, 0.8)
    x, y = across * np.float32(0.17), rise * np.float32(-0.30)

    def paint(seconds):
        swirl = read(
            canvas.soft, x * np.float32(0.9) + moved(0.03, seconds), y * np.float32(0.9) + moved(slower, seconds)
        )
        billow = read(canvas.rough, x - moved(0.011, seconds) + 0.03 * swirl, y + moved(speed, seconds))
        edge = 1.0 - np.abs(across + 0.38 * swirl) + 0.25 * billow
        shade = step(0.6 * billow + 0.5 * swirl - 0.5 * across, -1.1, 1.1)
        return mix(dark, bright, shade), step(edge, 0.0, 0.45) * np.float32(0.97) * where.cover

    return paint


def chimney(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, x: float) -> tuple[float, float]:
    """Paints a house under the smoke; returns the height y of its chimney's top and half its width."""
    size, base = rng.uniform(0.24, 0.29), rng.uniform(0.94, 0.97)
    top = base - 1.22 * size
    blend(image, box(canvas, x - 0.045, x + 0.045, top, base - 0.7 * size), lit((0.45, 0.22, 0.18), light))
    backdrop.house(rng, canvas, image, light, x - 0.2 * size, base, size)
    return top, 0.045


def volcano(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, x: float) -> tuple[float, float]:
    """Paints a volcano under the smoke; returns the height y of its crater and half its width."""
    top = rng.uniform(0.60, 0.68)
    slope = np.maximum(np.abs(canvas.x - x) - 0.09, 0)
    line = top + 0.95 * slope - 0.55 * slope**2 + 0.008 * np.sin(canvas.x * 45)
    backdrop.rock(canvas, image, below(canvas, line), lit((0.30, 0.24, 0.22), light))
    return top + 0.02, 0.08


def embers(rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, x: float) -> tuple[float, float]:
    """Paints a heap of logs under the smoke; returns the height y of its top and half its width."""
    base = rng.uniform(0.88, 0.94)
    heap = base - 0.13 + 0.55 * np.abs(canvas.x - x)
    blend(image, below(canvas, heap) * (1 - below(canvas, base)), lit((0.30, 0.19, 0.12), light))
    for tilt in (-0.5, 0.5, 0.1, -0.2):
        blend(image, beam(canvas, x, base - 0.06, 0.20, 0.024, tilt), lit((0.42, 0.27, 0.16), light))
    return base - 0.10, 0.09


SOURCES = {"chimney": chimney, "volcano": volcano, "embers": embers}
