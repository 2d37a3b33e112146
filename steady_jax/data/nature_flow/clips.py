"""A clip of a seed and an index: what is drawn, painted frame by frame, and said about it."""

import dataclasses

import numpy as np
from jaxtyping import Bool, UInt8

from steady_jax.data.nature_flow import air, falling, fire, sea, water, words
from steady_jax.data.nature_flow.canvas import Canvas, Scene, canvas
from steady_jax.scenes import FRAMES_PER_SECOND

PAINTERS = {
    "sea": sea.sea,
    "river": water.river,
    "waterfall": water.waterfall,
    "fire": fire.fire,
    "clouds": air.clouds,
    "fog": air.fog,
    "smoke": air.smoke,
    "rain": falling.rain,
    "snow": falling.snow,
}
KINDS = tuple(PAINTERS)
LEAST = 16  # pixels


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video, where it moves, and what one would write to get it."""

    pixels: UInt8[np.ndarray, "f h w 3"]
    mask: Bool[np.ndarray, "h w"]  # true where anything moves; outside, all frames are equal
    prompt: str
    kind: str


def clip(
    seed: int, index: int, *, frames: int = 81, height: int = 64, width: int = 64, kind: str | None = None
) -> Clip:
    """Paints clip number `index` of the endless row that `seed` names.

    Frame t shows second t / 16 and does not depend on how many frames are asked for; the motion never loops.

    Args:
        seed: which row of clips, 0 or more.
        index: which clip of it, 0 or more.
        frames: pixel frames.
        height: of the picture, pixels.
        width: of the picture, pixels.
        kind: one of KINDS; drawn when None.

    Raises:
        ValueError: a number out of range, or an unknown kind.
    """
    if frames < 1 or height < LEAST or width < LEAST:
        raise ValueError(f"a clip has 1 frame and {LEAST}x{LEAST} pixels at least, got {frames} of {height}x{width}")
    plan, rng = _draw(seed, index, kind)
    drawn = canvas(rng, height, width)
    scene = PAINTERS[plan.kind](rng, drawn, plan)
    pixels = _frames(scene, frames, drawn)
    return Clip(pixels, scene.region.inside, plan.prompt, plan.kind)


def prompt(seed: int, index: int, *, kind: str | None = None) -> str:
    """The prompt of `clip(seed, index)` without painting it."""
    return _draw(seed, index, kind)[0].prompt


def _draw(seed: int, index: int, kind: str | None) -> tuple[words.Plan, np.random.Generator]:
    """What clip `index` shows, and the randomness to paint it with."""
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index are 0 or more, got {seed} and {index}")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    rng = np.random.default_rng((seed, index))
    drawn = KINDS[rng.integers(len(KINDS))]
    return words.plan(rng, kind or drawn), rng


def _frames(scene: Scene, frames: int, canvas: Canvas) -> np.ndarray:
    """All frames [f h w 3], uint8: the background, and on it what moves."""
    still = np.clip(scene.background, 0, 1)
    pixels = np.empty((frames, *still.shape[1:], 3), np.uint8)
    pixels[:] = _bytes(still).transpose(1, 2, 0)
    inside = scene.region.inside
    behind, places = still[:, inside], np.flatnonzero(inside)
    for index in range(frames):
        colours, opacity = scene.paint(index / FRAMES_PER_SECOND)
        shown = behind + opacity * (colours - behind)
        pixels[index].reshape(-1, 3)[places] = _bytes(np.clip(shown, 0, 1)).T
    return pixels


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (colours * np.float32(255) + np.float32(0.5)).astype(np.uint8)
