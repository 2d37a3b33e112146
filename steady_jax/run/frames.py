"""What a block of finished frames is: an array [f h w 3] of uint8, red, green and blue.

Functions that take such blocks annotate them as plain arrays and check them here: so users get these words, and a
writer starts without jax.
"""

import numpy as np


def check_frames(frames: np.ndarray) -> None:
    """Refuses what is not a block of finished frames.

    Args:
        frames: pixels [f h w 3], uint8.

    Raises:
        TypeError: other values than uint8.
        ValueError: another shape, or no frame at all.
    """
    if frames.dtype != np.uint8:
        raise TypeError(f"frames are uint8 with values 0..255, got {frames.dtype}: scale and round them first")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames have the shape [f h w 3] with at least one frame, got {list(frames.shape)}")
