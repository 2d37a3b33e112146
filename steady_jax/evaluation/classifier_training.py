"""Trains the classifier on stretches that the caller draws, changed as a small video VAE would change them.

Softer in space and time, with other brightness, contrast and colour, noisier, shifted, mirrored, with more motion or
less: what is left of a kind after that is what a viewer would name it by.
"""

import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from steady_jax.evaluation.classifier import PICKED, Classifier, check_frames
from steady_jax.pixels import from_uint8
from steady_jax.shapes import Array, Float, Int, UInt8

REACH = 4  # pixels to each side that the blur mixes
BLUR = 2.0  # largest deviation, in pixels
BLUR_IN_TIME = 2.0  # largest deviation, in frames
MOTION = (0.4, 1.4)  # what is left of a pixel's deviation from its mean
SHIFT = 4  # largest, in pixels
NOISE = 0.05  # largest deviation; black to white is 2
STAINS, CELL = 0.1, 8  # largest deviation of noise as coarse as a latent, and the pixels of that

Batch = tuple[UInt8[np.ndarray, "b f h w 3"], Int[np.ndarray, "b"]]  # stretches, and places of their kinds in `kinds`


def train(
    network: Classifier,
    batches: Iterable[Batch],
    steps: int,
    *,
    seed: int = 0,
    learning_rate: float = 3e-3,
    say: Callable[[int, float], None] = lambda step, loss: None,
) -> Classifier:
    """The network after `steps` steps of Adam whose rate falls along a cosine to 0.

    Args:
        batches: of one size, `steps` of them at least.
        seed: of the changes to the pictures.
        say: is told the steps that are done and the last loss, in nats.
    Raises:
        ValueError: there are too few batches, the stretches have the wrong length, or a kind is none of the network's.
    """
    optimiser = _optimiser(steps, learning_rate)
    state, key, done = jax.jit(optimiser.init)(network), jax.random.key(seed), 0
    step = jax.jit(functools.partial(_step, optimiser), donate_argnums=(0, 1))
    network = jax.tree.map(jnp.copy, network)  # what is given stays as it is
    for done, (pixels, kinds) in zip(range(1, steps + 1), batches, strict=False):
        check_frames(pixels)
        _check_answers(kinds, network.kinds)
        network, state, loss = step(network, state, jax.random.fold_in(key, done), pixels, kinds)
        say(done, float(loss))
    if done < steps:
        raise ValueError(f"{steps} steps take as many batches, got {done}")
    return network


def changed(key: Array, pixels: UInt8[Array | np.ndarray, "b f h w rgb"]) -> Float[Array, "b picked h w rgb"]:
    """The picked frames of stretches, -1..1, each stretch changed in its own way."""
    frames = jax.vmap(_changed)(jax.random.split(key, len(pixels)), from_uint8(jnp.asarray(pixels)))
    return jnp.clip(frames, -1, 1)


def _check_answers(kinds: np.ndarray, known: tuple[str, ...]) -> None:
    if kinds.min() < 0 or kinds.max() >= len(known):
        raise ValueError(f"kinds are 0..{len(known) - 1} ({', '.join(known)}), got {kinds.min()}..{kinds.max()}")


def _step(
    optimiser: optax.GradientTransformation,
    network: Classifier,
    state: optax.OptState,
    key: Array,
    pixels: Array,
    kinds: Array,
) -> tuple[Classifier, optax.OptState, Array]:
    def loss(network: Classifier) -> Array:
        logits = network.logits(changed(key, pixels))
        return optax.softmax_cross_entropy_with_integer_labels(logits, kinds).mean()

    value, gradient = jax.value_and_grad(loss)(network)
    update, state = optimiser.update(gradient, state, network)
    return optax.apply_updates(network, update), state, value


def _optimiser(steps: int, learning_rate: float) -> optax.GradientTransformation:
    warm = min(100, steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0 if warm else learning_rate, learning_rate, warm, steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def _changed(key: Array, frames: Float[Array, "f h w rgb"]) -> Float[Array, "picked h w rgb"]:
    keys = jax.random.split(key, 8)
    frames = _softened_in_time(keys[0], frames)
    mean = frames.mean(0)
    frames = mean + (frames - mean) * jax.random.uniform(keys[1], minval=MOTION[0], maxval=MOTION[1])
    frames = _softened(keys[2], frames)
    frames = jnp.where(jax.random.bernoulli(keys[3]), frames[:, :, ::-1], frames)
    frames = _shifted(keys[4], frames)
    contrast, brightness = jax.random.uniform(keys[5], (2, 3), minval=-0.1, maxval=0.1)
    both = jax.random.uniform(keys[6], (2,), minval=-0.2, maxval=0.2)
    frames = frames * (1 + contrast + both[0]) + brightness + both[1]
    return frames + _noise(keys[7], frames.shape)


def _noise(key: Array, shape: tuple[int, ...]) -> Float[Array, "f h w rgb"]:
    """Noise of pixels and of places as large as a latent's, new in each frame."""
    strength, fine, coarse = jax.random.split(key, 3)
    pixel, stain = jax.random.uniform(strength, (2,)) * jnp.array([NOISE, STAINS])
    frames, height, width, rgb = shape
    stains = jax.random.normal(coarse, (frames, -(-height // CELL), -(-width // CELL), rgb))
    return pixel * jax.random.normal(fine, shape) + stain * jax.image.resize(stains, shape, "linear")


def _softened_in_time(key: Array, frames: Float[Array, "f h w rgb"]) -> Float[Array, "picked h w rgb"]:
    """Picks frames, each with some of its neighbours in it."""
    apart = jnp.arange(len(frames)) - jnp.array(PICKED)[:, None]
    return jnp.einsum("pf,fhwc->phwc", _bell(apart, jax.random.uniform(key, maxval=BLUR_IN_TIME)), frames)


def _softened(key: Array, frames: Float[Array, "f h w rgb"]) -> Float[Array, "f h w rgb"]:
    """Blurs along rows and columns."""
    weights = _bell(jnp.arange(-REACH, REACH + 1), jax.random.uniform(key, maxval=BLUR))
    for axis in (1, 2):
        size = frames.shape[axis]
        beyond = jnp.pad(frames, [(REACH, REACH) if axis == at else (0, 0) for at in range(4)], mode="edge")
        parts = (jax.lax.slice_in_dim(beyond, at, at + size, axis=axis) for at in range(2 * REACH + 1))
        frames = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return frames


def _shifted(key: Array, frames: Float[Array, "f h w rgb"]) -> Float[Array, "f h w rgb"]:
    beyond = jnp.pad(frames, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    down, right = jax.random.randint(key, (2,), 0, 2 * SHIFT + 1)
    return jax.lax.dynamic_slice(beyond, (0, down, right, 0), frames.shape)


def _bell(apart: Array, deviation: Array) -> Array:
    """Weights that fall with the distance and sum to 1 along the last axis."""
    weights = jnp.exp(-0.5 * jnp.square(apart / jnp.maximum(deviation, 1e-2)))
    return weights / weights.sum(-1, keepdims=True)
