"""How much of a clip moves, and how fast, without a network: block matching that believes only what shifts explain.

Noise, flicker and compression change pictures too; but no shift of the picture explains the change. So windows of a
frame are compared with the frames before and after it, shifted against each other as constant velocity would have it,
and what counts is the part of the change at rest that the best shift takes away.

With p_c(t, x) the channel c of a picture shrunk to `rows` rows, and means over a window around x in space and over SPAN
frames t in time:

    error(d)  = mean of the sum over c of (1/2) |p'_c(t, .) - p'_c(t ± s, . ± d)|²                                   (1)
    explained = (error(0) - error(best d)) / (error(0) + FLOOR)                                                      (2)
    speed     = |best d| / s * frames_per_second / rows          of the picture's heights per second                 (3)
    reward    = mean of min(speed / cap, 1) * clip((explained - least) / (full - least), 0, 1)                       (4)

where ' takes away from both sides their own mean over the window and scales them to the same deviation: gain and offset
of a window, per channel, are no motion. Both directions of time count together, so that a still picture has
error(d) = error(-d), and noise favours no side. The best whole shift is refined to parts of a pixel by a quadratic.
Frames are compared at two distances s (SEARCHES), the far one for slow motion; in each window the larger product
counts.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.shapes import Array, Float, Int, UInt8

WINDOW, STEP = 12, 4  # side of a window and distance between windows, in pixels of the shrunk picture
SPAN = 3  # frames over which an error is averaged: chance does not repeat itself
SEARCHES = {1: 6, 4: 2}  # distance in frames -> furthest shift searched along an axis, in pixels
FLOOR = 0.5  # levels², what rounding to whole levels changes

# full float32, also where matrix products are rounded to bfloat16 by default: errors are differences of large numbers
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@dataclasses.dataclass(frozen=True)
class MotionReward:
    """Motion of clips, 0..1: 0 where nothing moves, 1 where all of the picture moves at the cap's speed or faster.

    exp(2 * reward), the weight of an item in Re-DMD, so lies in 1..7.4. Nature clips are at 0.02..0.6.

    A camera that pans, tilts or zooms moves the whole picture: that is motion here, and cannot be told apart. Texture
    is needed: what is smooth over a window shows no motion, nor does what changes without going anywhere (light,
    colour). Thin rain in front of a detailed picture counts little. Shifts beyond SEARCHES (2 heights per second at the
    defaults) are not found and count nothing. Windows at the edge of what moves see it partly, so its share of the
    picture is rounded up by about half a window. Blocks of noise as large as an eighth of a flat picture that jump in
    every frame look a little like motion (0.2); noise, grain and what compression leaves do not.

    Speeds are right to about 20 % where texture is as fine as the shrunk picture can show, better where it is coarser.
    """

    cap: float = 0.5  # heights of the picture per second from which on faster motion is not worth more
    frames_per_second: float = float(FRAMES_PER_SECOND)
    rows: int = 48  # to which pictures are shrunk; smaller ones stay as they are
    least: float = 0.4  # part of a change that a shift must explain to be motion; of noise, chance explains up to 0.3
    full: float = 0.7  # part from which on it counts in full

    on_host: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.cap > 0 and self.frames_per_second > 0):
            raise ValueError(f"cap and frames_per_second must be positive, got {self.cap} and {self.frames_per_second}")
        if self.rows < WINDOW:
            raise ValueError(f"rows must be at least {WINDOW}, the side of a window, got {self.rows}")
        if not 0 < self.least < self.full <= 1:
            raise ValueError(f"0 < least < full <= 1 must hold, got least {self.least} and full {self.full}")
        if self.cap > (found := SEARCHES[1] * self.frames_per_second / self.rows):
            raise ValueError(
                f"motion is found up to {found:g} heights per second ({SEARCHES[1]} of {self.rows} rows per frame), "
                f"got a cap of {self.cap}; lower cap or rows"
            )

    def __call__(self, frames: UInt8[Array | np.ndarray, "b f height width rgb"]) -> Float[Array, "b"]:
        """Rewards of clips, each for itself.

        Args:
            frames: pixel frames, 5 at least; slow motion needs 11.
        Raises:
            ValueError: too few frames, or a picture too small or too narrow for a window.
        """
        _check(*frames.shape[1:4], self.rows)
        # one after the other: memory for one, and five times as fast on a CPU as side by side
        return jax.lax.map(self._of_clip, frames)

    def _of_clip(self, frames: UInt8[Array, "f height width rgb"]) -> Float[Array, ""]:
        pictures = shrink(frames, self.rows)
        distances = [distance for distance in SEARCHES if len(frames) >= frames_needed(distance)]
        by_distance = [self._by_distance(pictures, distance) for distance in distances]
        # the same frames in the middle, whatever the distance
        cuts = [(len(rewards) - len(by_distance[-1])) // 2 for rewards in by_distance]
        middle = [rewards[cut : len(rewards) - cut] for rewards, cut in zip(by_distance, cuts, strict=True)]
        return jnp.mean(functools.reduce(jnp.maximum, middle))

    def _by_distance(self, pictures: Float[Array, "f h w rgb"], distance: int) -> Float[Array, "_ _ _"]:
        """What (4) is the mean of, for middle frames and windows."""
        shift, explained = jax.lax.map(best_shift, errors(pictures, distance))
        speed = shift / distance * self.frames_per_second / pictures.shape[1]
        believed = jnp.clip((explained - self.least) / (self.full - self.least), 0, 1)
        return jnp.minimum(speed / self.cap, 1) * believed


def frames_needed(distance: int) -> int:
    """Of a clip, for one comparison at a distance in frames."""
    return 2 * distance + SPAN


def shrink(frames: UInt8[Array | np.ndarray, "f height width rgb"], rows: int) -> Float[Array, "f h w rgb"]:
    """Pictures of at most `rows` rows: means over areas, in levels, around the clip's mean colour."""
    height, width = frames.shape[1:3]
    down, across = (
        _areas(size, shrunk) for size, shrunk in zip((height, width), _shrunk(height, width, rows), strict=True)
    )

    def one(frame: Array) -> Array:  # frame by frame: a clip in float32 would take four times its memory
        return _einsum("hy,yxc,wx->hwc", down, frame.astype(jnp.float32), across)

    pictures = jax.lax.map(one, frames)
    return pictures - jnp.mean(pictures, axis=(0, 1, 2))  # small numbers: their squares are subtracted


def errors(pictures: Float[Array, "f h w rgb"], distance: int) -> Float[Array, "_ shifts shifts _ _"]:
    """Equation (1) in levels² for every middle frame, shift along the rows, along the columns, and window.

    Args:
        distance: s, in frames.
    """
    reach = SEARCHES[distance]
    frames, height, width, _ = pictures.shape
    shifts = jnp.arange(-reach, reach + 1)
    beyond = jnp.pad(pictures, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    mean, deviation = jax.lax.map(_statistics, beyond)
    down, across = (_boxes(size)[::STEP] for size in (height, width))

    def windows(of: Array, dy: Array | int, dx: Array | int) -> Array:
        size = ((len(down) - 1) * STEP + 1, (len(across) - 1) * STEP + 1, of.shape[-1])
        return jax.lax.dynamic_slice(of, (reach + dy, reach + dx, 0), size)[::STEP, ::STEP]

    def error(frame: Array, other: Array, dy: Array, dx: Array) -> Array:
        shifted = jax.lax.dynamic_slice(beyond[other], (reach + dy, reach + dx, 0), pictures.shape[1:])
        product = _einsum("iy,yx,jx->ij", down, jnp.sum(pictures[frame] * shifted, axis=-1), across)
        means = jnp.sum(windows(mean[frame], 0, 0) * windows(mean[other], dy, dx), axis=-1)
        deviations = jnp.sum(windows(deviation[frame], 0, 0) * windows(deviation[other], dy, dx), axis=-1)
        return deviations - (product - means)  # half of |a - b|² where a and b have no mean and one deviation

    def both(frame: Array, dy: Array, dx: Array) -> Array:
        before, after = error(frame, frame - distance, -dy, -dx), error(frame, frame + distance, dy, dx)
        return jnp.maximum((before + after) / 2, 0)

    def of_frame(frame: Array) -> Array:
        return jax.lax.map(lambda dy: jax.vmap(lambda dx: both(frame, dy, dx))(shifts), shifts)

    each = jax.lax.map(of_frame, jnp.arange(distance, frames - distance))
    count = len(each) - SPAN + 1
    return sum(each[start : start + count] for start in range(SPAN)) / SPAN


def best_shift(
    errors: Float[Array, "shifts shifts rows columns"],
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """The length of each window's best shift, in pixels, and the part of the error at rest that it explains (2)."""
    count = errors.shape[0]
    reach = count // 2
    best = jnp.argmin(errors.reshape(count * count, *errors.shape[2:]), axis=0)
    y, x = best // count, best % count
    dy, dx, change = _refined(errors, y, x)
    least = jnp.maximum(_at(errors, y, x) + change, 0)
    rest = errors[reach, reach]
    explained = jnp.clip((rest - least) / (rest + FLOOR), 0, 1)
    return jnp.hypot(y - reach + dy, x - reach + dx), explained


def _refined(errors: Array, y: Int[Array, "_ _"], x: Int[Array, "_ _"]) -> tuple[Array, Array, Array]:
    """How far beside a whole shift the error is smallest (half a pixel at most), and the change of the error there.

    From the quadratic through the shift's neighbours. Stiffened a little: along an edge the smallest step is taken.
    """
    at = functools.partial(_at, errors)
    slope_y, slope_x = (at(y + 1, x) - at(y - 1, x)) / 2, (at(y, x + 1) - at(y, x - 1)) / 2
    here = 2 * at(y, x)
    yy, xx = at(y + 1, x) + at(y - 1, x) - here, at(y, x + 1) + at(y, x - 1) - here
    yx = (at(y + 1, x + 1) + at(y - 1, x - 1) - at(y + 1, x - 1) - at(y - 1, x + 1)) / 4
    stiff = 0.02 * (yy + xx) + 1e-3
    determinant = jnp.maximum((yy + stiff) * (xx + stiff) - yx * yx, 1e-6)
    dy = (yx * slope_x - (xx + stiff) * slope_y) / determinant
    dx = (yx * slope_y - (yy + stiff) * slope_x) / determinant
    last = errors.shape[0] - 1
    inside = (y > 0) & (y < last) & (x > 0) & (x < last)  # at the end of the search a neighbour is missing
    dy, dx = (jnp.where(inside, jnp.clip(d, -0.5, 0.5), 0) for d in (dy, dx))
    return dy, dx, slope_y * dy + slope_x * dx + (yy * dy * dy + xx * dx * dx) / 2 + yx * dy * dx


def _at(errors: Array, y: Array, x: Array) -> Array:
    """Each window's error at its own shift; beyond the search, at the last one."""
    last, (rows, columns) = errors.shape[0] - 1, errors.shape[2:]
    return errors[jnp.clip(y, 0, last), jnp.clip(x, 0, last), jnp.arange(rows)[:, None], jnp.arange(columns)]


def _statistics(picture: Float[Array, "h w rgb"]) -> tuple[Array, Array]:
    """Mean and standard deviation of each channel in all windows of a picture."""
    down, across = (_boxes(size) for size in picture.shape[:2])
    mean = _einsum("iy,yxc,jx->ijc", down, picture, across)
    square = _einsum("iy,yxc,jx->ijc", down, picture * picture, across)
    return mean, jnp.sqrt(jnp.maximum(square - mean * mean, 0))


def _boxes(size: int) -> np.ndarray:
    """[windows, size]: the mean over WINDOW pixels, at every pixel that begins a window."""
    first, pixel = np.arange(size - WINDOW + 1)[:, None], np.arange(size)
    return ((pixel >= first) & (pixel < first + WINDOW)).astype(np.float32) / WINDOW


def _areas(size: int, shrunk: int) -> np.ndarray:
    """[shrunk, size]: the mean over size / shrunk pixels, parts of pixels counted as such."""
    edges, pixel = np.arange(shrunk + 1) * size / shrunk, np.arange(size)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(covered, 0, None) * shrunk / size).astype(np.float32)


def _shrunk(height: int, width: int, rows: int) -> tuple[int, int]:
    rows = min(rows, height)
    return rows, max(round(width * rows / height), 1)


def _check(frames: int, height: int, width: int, rows: int) -> None:
    if frames < (least := frames_needed(min(SEARCHES))):
        raise ValueError(f"motion is seen in {least} frames or more, got {frames}; make longer clips")
    if min(shrunk := _shrunk(height, width, rows)) < WINDOW:
        raise ValueError(
            f"motion is looked for in windows of {WINDOW}x{WINDOW} pixels, and pictures of {height}x{width} shrink to "
            f"{shrunk[0]}x{shrunk[1]}; make larger or wider clips"
        )
