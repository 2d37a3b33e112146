"""A fire of logs."""

import numpy as np

from steady_jax.data.nature_flow import backdrop
from steady_jax.data.nature_flow.backdrop import GROUNDS, Light, lit
from steady_jax.data.nature_flow.canvas import (
    Canvas,
    Paint,
    Region,
    Scene,
    beam,
    below,
    blend,
    column,
    disc,
    mix,
    region,
)
from steady_jax.data.nature_flow.noise import moved, read, step
from steady_jax.data.nature_flow.words import Plan

RED, ORANGE, YELLOW, PALE = (0.62, 0.08, 0.02), (1.0, 0.42, 0.04), (1.0, 0.80, 0.22), (1.0, 0.97, 0.78)


def fire(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> Scene:
    """Flames over crossed logs, in a ring of stones or without one."""
    light = backdrop.light(rng, plan.time)
    horizon, base = rng.uniform(0.42, 0.52), rng.uniform(0.84, 0.90)
    image = backdrop.sky(rng, canvas, light, horizon)
    backdrop.BACKS[plan.back](rng, canvas, image, light, horizon)
    backdrop.ground(canvas, image, light, horizon + 0.01, GROUNDS[plan.place])
    x, wide = rng.uniform(0.38, 0.62) * canvas.aspect, rng.uniform(0.24, 0.31) * min(canvas.aspect, 1.0)
    high = rng.uniform(0.66, 0.76)
    _shine(canvas, image, light, x, base)
    hearth(rng, canvas, image, light, x, base, wide)
    up = (np.float32(base) - canvas.y) / np.float32(high)
    beside = np.abs(canvas.x - np.float32(x)) / np.float32(wide)
    cover = (
        step(1.22 - beside * (0.75 + 0.6 * np.clip(up, 0, 1)), 0, 0.15) * step(up, -0.06, 0.0) * step(-up, -1.25, -1.1)
    )
    where = region(canvas, cover)
    return Scene(image, where, _flames(rng, canvas, where, (x, base, wide, high)))


def hearth(
    rng: np.random.Generator, canvas: Canvas, image: np.ndarray, light: Light, x: float, base: float, wide: float
) -> None:
    """Logs, and sometimes a ring of stones in front of them."""
    for tilt, shade in ((-0.22, 0.8), (0.20, 1.0), (-0.04, 1.25)):
        tilt += rng.uniform(-0.06, 0.06)
        cover = beam(canvas, x, base + 0.015, 0.95 * wide, 0.034, tilt)
        blend(image, cover, lit((0.32 * shade, 0.20 * shade, 0.11 * shade), light))
    if rng.random() < 0.5:
        for place in np.linspace(-1.1, 1.1, 7):
            stone = disc(canvas, x + place * wide, base + 0.075 - 0.035 * place**2, 0.055, 0.04)
            blend(image, stone, lit((0.5, 0.48, 0.46) * rng.uniform(0.8, 1.1, 3), light))


def _shine(canvas: Canvas, image: np.ndarray, light: Light, x: float, base: float) -> None:
    """Warm light on the ground around the fire, the stronger the darker it is."""
    strength = 0.5 * max(0.0, 1 - light.ambient[0])
    distance = np.hypot((canvas.x - x) / 0.6, (canvas.y - base) / 0.25)
    blend(image, strength * np.exp(-(distance**2)) * below(canvas, base - 0.3), ORANGE)


def _flames(rng: np.random.Generator, canvas: Canvas, where: Region, place: tuple[float, float, float, float]) -> Paint:
    """Paints flames: heat that is greatest at the logs, torn by turbulence that rises."""
    x, base, wide, high = map(np.float32, place)
    up = (base - where.y) / high
    beside = (where.x - x) / wide
    speed = rng.uniform(0.85, 1.05)
    slower, faster = speed * rng.uniform(0.55, 0.65), speed * rng.uniform(1.45, 1.65)
    height = np.maximum(up, 0)
    fuel = 1.22 - 1.2 * height
    foot = step(up, -0.05, 0.06)
    red, orange, yellow, pale = (column(colour) for colour in (RED, ORANGE, YELLOW, PALE))
    swirl_x, swirl_y = where.x * np.float32(0.55), where.y * np.float32(0.45)
    tongue_x, tongue_y = where.x * np.float32(0.85), where.y * np.float32(0.42)

    def paint(seconds):
        swirl = read(canvas.soft, swirl_x + moved(0.07, seconds), swirl_y + moved(slower, seconds))
        tongue = read(canvas.rough, tongue_x - moved(0.013, seconds) + 0.03 * swirl, tongue_y + moved(speed, seconds))
        flutter = read(canvas.soft, tongue_x + np.float32(0.4), tongue_y * 2 + moved(faster, seconds))
        bent = np.abs(beside + 0.32 * swirl * height)
        heat = fuel - bent * bent * (0.75 + 1.1 * height) + (0.16 + 0.34 * height) * tongue + 0.2 * flutter
        colours = mix(red, orange, step(heat, 0.1, 0.45))
        colours = mix(colours, yellow, step(heat, 0.4, 0.85))
        colours = mix(colours, pale, step(heat, 0.8, 1.35))
        return colours, step(heat, 0.05, 0.35) * foot * where.cover

    return paint
