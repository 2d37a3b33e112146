"""Names what a second of video shows: a small network that looks at a few frames and at what changes between them.

It judges made videos, so it is trained on other pictures than the networks that make them are judged on, and made
robust to what these do to pictures (classifier_training.py).
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from steady_jax import parameters
from steady_jax.pixels import from_uint8
from steady_jax.shapes import Array, Float, UInt8

FRAMES = 16  # of a stretch: one second
PICKED = (0, 1, 5, 10, 15)  # frames that are looked at: a short step shows fast motion, long ones slow motion
CHANNELS = 3 * len(PICKED)
NAMES = "kinds"  # entry of a file of weights that is no weight


class Classifier(nnx.Module):
    """Frames and differences as channels; convolutions down to an eighth of the size; mean and maximum over places."""

    def __init__(self, kinds: Sequence[str], width: int = 24, *, rngs: nnx.Rngs) -> None:
        """Args: kinds: names of the answers. width: channels at half the picture's size."""
        self.kinds = tuple(kinds)
        self.half = nnx.Conv(CHANNELS, width, (5, 5), 2, rngs=rngs)
        self.quarter = _Down(width, 2 * width, rngs=rngs)
        self.eighth = _Down(2 * width, 4 * width, rngs=rngs)
        self.last = _Same(4 * width, rngs=rngs)
        self.norm = nnx.LayerNorm(8 * width, rngs=rngs)
        self.answer = nnx.Linear(8 * width, len(self.kinds), rngs=rngs)

    def __call__(self, pixels: UInt8[Array | np.ndarray, "b f h w rgb"]) -> Float[Array, "b kinds"]:
        """Logits of stretches.

        Args:
            pixels: 16 frames at 16 per second; rows and columns about as in training.
        Raises:
            ValueError: another number of frames.
        """
        check_frames(pixels)
        return self.logits(from_uint8(jnp.asarray(pixels[:, PICKED])))

    def logits(self, frames: Float[Array, "b picked h w rgb"]) -> Float[Array, "b kinds"]:
        """Logits from the picked frames alone, -1..1."""
        first, changes = frames[:, :1], jnp.diff(frames, axis=1)
        seen = jnp.concatenate([first, 3 * changes], axis=1)  # changes are small beside pictures
        x = self.half(jnp.moveaxis(seen, 1, -2).reshape(*seen.shape[:1], *seen.shape[2:4], CHANNELS))
        x = self.last(self.eighth(self.quarter(x)))
        pooled = jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=-1)
        return self.answer(self.norm(pooled))


class _Down(nnx.Module):
    """Half the rows and columns."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(inputs, rngs=rngs)
        self.conv = nnx.Conv(inputs, outputs, (3, 3), 2, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b _ _ o"]:
        return self.conv(nnx.silu(self.norm(x)))


class _Same(nnx.Module):
    """x + a convolution of it."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.conv = nnx.Conv(width, width, (3, 3), rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.conv(nnx.silu(self.norm(x)))


def check_frames(pixels: UInt8[Array | np.ndarray, "b f h w rgb"]) -> None:
    """Raises ValueError if these are no stretches."""
    if pixels.shape[1] != FRAMES:
        raise ValueError(f"a stretch has {FRAMES} frames, got {pixels.shape[1]}; cut the video into stretches")


def probabilities(network: Classifier, video: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "kinds"]:
    """What a video shows: the mean of the answers to all its stretches of 16 frames, cut from the end backwards.

    Args:
        video: 16 frames or more; those before the first whole stretch are left out.
    """
    stretches = len(video) // FRAMES
    if not stretches:
        raise ValueError(f"a video to be named has {FRAMES} frames at least, got {len(video)}")
    pixels = video[-stretches * FRAMES :].reshape(stretches, FRAMES, *video.shape[1:])
    logits = [_logits(network, pixels[None, index]) for index in range(stretches)]
    return np.asarray(jax.nn.softmax(jnp.concatenate(logits), axis=-1).mean(0))


@jax.jit
def _logits(network: Classifier, pixels: Array) -> Array:
    return network(pixels)


def save(network: Classifier, path: str | Path) -> None:
    """Writes kinds and weights as .npz.

    Raises:
        FileExistsError: there is a file of this name.
    """
    weights = {name: np.asarray(array) for name, array in parameters.named(network).items()}
    with Path(path).open("xb") as file:
        np.savez(file, **{NAMES: np.array(network.kinds)}, **weights)


def load(path: str | Path) -> Classifier:
    """The network that `save` wrote.

    Raises:
        ValueError: the file holds something else, or is damaged.
    """
    try:
        with Path(path).open("rb") as file:
            arrays = dict(np.load(file))
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no file of a classifier, or damaged; make one with scripts/train_classifier.py"
        ) from error
    if NAMES not in arrays or "half/bias" not in arrays:
        raise ValueError(f"{path} holds no classifier; make one with scripts/train_classifier.py")
    kinds, width = arrays.pop(NAMES).tolist(), len(arrays["half/bias"])
    weights = {name: jnp.asarray(array) for name, array in arrays.items()}
    return parameters.filled(parameters.abstract(Classifier, kinds, width), weights)
