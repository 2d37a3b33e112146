"""Rotary position embedding over (frame, row, column), exact at any frame number.

Pairs of channels (2i, 2i+1) of a head turn by the angle position * 10000^(-i/n). Of the head's pairs the first part
belongs to the frame, the second to the row, the third to the column, and each part has its own exponent range i/n.

An angle is kept as a fraction of a full turn in 32 bits, where going round is free: float32 radians would be off by
2e-2 at frame 1,000,000, this is off by 2e-6.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np

from steady_jax.shapes import UNROTATED, Array, Float, Int

BASE = 10000.0
# positions are split as coarse * 1024 + fine, so that rounding a constant is repeated at most about 1000 times
_COARSE = 1024


@typing.no_type_check
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rotation:
    """Cosine and sine for every token and channel pair, float32."""

    cos: Float[Array, "t p"]
    sin: Float[Array, "t p"]


def axis_pairs(head_width: int) -> tuple[int, int, int]:
    """Channel pairs of a head that turn with the frame, the row and the column."""
    pairs = head_width // 2
    return pairs - 2 * (pairs // 3), pairs // 3, pairs // 3


def frequencies(pairs: int) -> np.ndarray:
    """Radians per position of each pair, float64: BASE^(-i/pairs)."""
    return BASE ** (-np.arange(pairs) / pairs)


def angles(positions: Int[Array, "*shape"], pairs: int) -> Float[Array, "*shape p"]:
    """Angles in -pi..pi of whole, non-negative positions, within 2e-6 of float64 up to position 1,000,000."""
    turns = frequencies(pairs) / (2 * np.pi)
    fine_step, coarse_step = _in_32_bits(turns), _in_32_bits(turns * _COARSE)
    position = positions.astype(jnp.uint32)[..., None]
    phase = (position // _COARSE) * coarse_step + (position % _COARSE) * fine_step  # wraps around, as an angle does
    signed = jax.lax.bitcast_convert_type(phase, jnp.int32)
    return signed.astype(jnp.float32) * np.float32(2 * np.pi / 2**32)


def rotation(positions: Int[Array, "f"], rows: int, columns: int, head_width: int) -> Rotation:
    """The rotation of all tokens of some frames.

    Args:
        positions: temporal position of each frame; UNROTATED leaves all of the frame's channels as they are.
        rows, columns: size of a frame in tokens.
        head_width: channels of a head.
    Returns: cosines and sines of the f * rows * columns tokens, ordered (frame, row, column).
    """
    frame_pairs, row_pairs, column_pairs = axis_pairs(head_width)
    grid = (positions.shape[0], rows, columns)
    parts = (
        angles(jnp.maximum(positions, 0), frame_pairs)[:, None, None],
        angles(jnp.arange(rows), row_pairs)[None, :, None],
        angles(jnp.arange(columns), column_pairs)[None, None, :],
    )
    angle = jnp.concatenate([jnp.broadcast_to(part, (*grid, part.shape[-1])) for part in parts], axis=-1)
    angle = jnp.where((positions == UNROTATED)[:, None, None, None], 0.0, angle).reshape(-1, head_width // 2)
    return Rotation(jnp.cos(angle), jnp.sin(angle))


def rotate(x: Float[Array, "b *t n h"], by: Rotation) -> Float[Array, "b *t n h"]:
    """Turns each channel pair of x. Computed in float32, as positions matter more than the products; returned in x's
    dtype.

    Args:
        x: queries or keys, their tokens in one axis or in several, frames first.
        by: for all those tokens.
    """
    even, odd = x[..., 0::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
    cos, sin = (table.reshape(*x.shape[1:-2], 1, -1) for table in (by.cos, by.sin))
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape).astype(x.dtype)


def _in_32_bits(turns: np.ndarray) -> np.ndarray:
    return np.round(turns % 1.0 * 2**32).astype(np.uint64).astype(np.uint32)
