"""The picture that a clip is painted on: coordinates, simple shapes with soft edges, and the moving region."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from steady_jax.data.nature_flow import noise

Colour = tuple[float, float, float] | Float[np.ndarray, "3"]  # red, green, blue, 0..1
Paint = Callable[[float], tuple[np.ndarray, np.ndarray]]  # seconds -> colours [3 n] and opacity [n] of a region
VISIBLE = 0.02  # a pixel that the moving thing covers less than this stays still


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where the pixels lie, and two textures. The picture is 1 high and `aspect` wide; y grows downwards."""

    x: Float[np.ndarray, "1 w"]
    y: Float[np.ndarray, "h 1"]
    soft: np.ndarray  # texture without fine detail
    rough: np.ndarray  # texture with fine detail

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.x.shape[1] / self.y.shape[0]

    @property
    def pixel(self) -> float:
        """Height of one pixel."""
        return 1 / self.y.shape[0]


@dataclasses.dataclass(frozen=True)
class Region:
    """The pixels that move, as flat lists of length n."""

    inside: Bool[np.ndarray, "h w"]
    x: Float[np.ndarray, "n"]
    y: Float[np.ndarray, "n"]
    cover: Float[np.ndarray, "n"]  # 0..1, how much of the pixel may move; below 1 at soft edges


@dataclasses.dataclass(frozen=True)
class Scene:
    """A still background and what moves in front of it."""

    background: Float[np.ndarray, "3 h w"]  # 0..1
    region: Region
    paint: Paint


def canvas(rng: np.random.Generator, height: int, width: int) -> Canvas:
    """Draws the textures and lays out the coordinates of a picture."""
    size = 2 ** int(np.clip(np.ceil(np.log2(2 * height)), 6, 9))  # finer detail than 512 texels looks ragged
    rough, soft = noise.textures(rng, size, 1.5)[0], noise.textures(rng, size // 2, 2.2)[0]
    x = (np.arange(width, dtype=np.float32) + 0.5) / height
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return Canvas(x[None], y[:, None], soft, rough)


def region(canvas: Canvas, cover: np.ndarray) -> Region:
    """Takes the pixels that the moving thing can cover.

    Args:
        canvas: the picture.
        cover: [h w], 0..1.
    """
    inside = cover > VISIBLE
    x, y = np.broadcast_to(canvas.x, inside.shape), np.broadcast_to(canvas.y, inside.shape)
    return Region(inside, x[inside], y[inside], cover[inside].astype(np.float32))


def column(colour: Colour) -> Float[np.ndarray, "3 1"]:
    """A colour that broadcasts over a list of pixels."""
    return np.asarray(colour, np.float32)[:, None]


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`first` where share is 0, `second` where it is 1."""
    return first + share * (second - first)


def blend(image: np.ndarray, cover: np.ndarray, colour: Colour | np.ndarray) -> None:
    """Paints a colour [3], or a picture [3 h w], over the image [3 h w] where `cover` [h w] is above 0."""
    colour = np.asarray(colour, np.float32)
    colour = colour if colour.ndim == 3 else colour[:, None, None]
    image += cover * (colour - image)


def below(canvas: Canvas, line: np.ndarray | float) -> np.ndarray:
    """Covers what lies below a line y(x); softened over one pixel."""
    return np.clip((canvas.y - line) / canvas.pixel + 0.5, 0, 1)


def box(canvas: Canvas, left: float, right: float, top: np.ndarray | float, bottom: float) -> np.ndarray:
    """Covers an upright box with soft edges; its top may be a line y(x)."""
    inside = np.minimum(canvas.x - left, right - canvas.x)
    return np.clip(inside / canvas.pixel + 0.5, 0, 1) * below(canvas, top) * (1 - below(canvas, bottom))


def beam(canvas: Canvas, x: float, y: float, half: float, thick: float, tilt: float) -> np.ndarray:
    """Covers a straight beam with round ends: `half` its length long, `thick` half its width, `tilt` in radians."""
    right, down = canvas.x - x, canvas.y - y
    along = np.maximum(np.abs(right * np.cos(tilt) + down * np.sin(tilt)) - half, 0)
    return np.clip((thick - np.hypot(along, down * np.cos(tilt) - right * np.sin(tilt))) / canvas.pixel + 0.5, 0, 1)


def disc(canvas: Canvas, x: float, y: float, wide: float, high: float) -> np.ndarray:
    """Covers an ellipse with half axes `wide` and `high`."""
    distance = np.hypot((canvas.x - x) / wide, (canvas.y - y) / high)
    return np.clip((1 - distance) * min(wide, high) / canvas.pixel + 0.5, 0, 1)
