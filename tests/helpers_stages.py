"""Stages small enough to train in a test, and the gradients that a training step took."""

import numpy as np

from steady_jax import parallel, parameters
from steady_jax.models.umt5 import UMT5Config, UMT5Encoder
from steady_jax.models.wan_dit import DiTConfig, WanDiT
from steady_jax.models.wan_vae import VAEConfig, WanVAE
from steady_jax.text import ByteTokenizer
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.networks import Learner, Network
from steady_jax.train.optimiser import OptimiserSettings
from steady_jax.train.stages.base import Setup

CHANNELS, TEXT_WIDTH = 4, 16
DIT = DiTConfig(
    width=32,
    ffn_width=48,
    heads=2,
    layers=1,
    channels=CHANNELS,
    text_width=TEXT_WIDTH,
    text_length=12,
    frequency_width=16,
    dtype="float32",
    attention="xla",
)
VAE = VAEConfig(
    channels=CHANNELS,
    width=4,
    multipliers=(1, 2),
    res_blocks=1,
    temporal_downsample=(True,),
    patch=2,
    latent_mean=(0.1, -0.2, 0.3, 0.0),
    latent_std=(1.0, 2.0, 0.5, 1.5),
    dtype="float32",
)
TOKENIZER = ByteTokenizer(DIT.text_length)
TEXT = UMT5Config(
    vocabulary=TOKENIZER.vocabulary, width=TEXT_WIDTH, ffn_width=24, heads=2, head_width=8, layers=1, dtype="float32"
)
KINDS = {"dit": (WanDiT, DIT), "vae": (WanVAE, VAE), "text_encoder": (UMT5Encoder, TEXT)}
ROWS, COLUMNS = 4, 6  # of latents
# A step that subtracts SCALE * gradient: Adam's division by the gradient's size is nothing beside so large an eps.
SCALE = 100.0
PLAIN = OptimiserSettings(SCALE * 1e4, eps=1e4, weight_decay=0.0, clip=float("inf"))


def network(part, seed=0):
    kind, config = KINDS[part]
    return Network(kind, config, part, seed=seed)


def one_device():
    return parallel.make_mesh({})


def setup(learners, frozen=None, *, optimiser=PLAIN, batch=2, updates=100, **how):
    """A stage's setup on one device; learners and frozen networks by name."""
    mesh = one_device()
    held = Frozen(frozen or {}, mesh)
    trained = {name: Learner(one, optimiser, updates) for name, one in learners.items()}
    return Setup(mesh, trained, held, Encoders(held, TOKENIZER), batch, **how)


def arrays(tree):
    """Copies of a pytree's arrays by path; a step uses its state up."""
    return {path: np.array(array) for path, array in parameters.named(tree).items()}


def subtracted(before, after):
    """The gradient that a step with PLAIN took, by path."""
    return {path: (array - after[path]) / SCALE for path, array in before.items()}


def close(found, expected, share=1e-4):
    """Gradients by path agree, as a share of the largest number of all, and are not nothing."""
    largest = max(float(np.abs(array).max()) for array in expected.values())
    assert largest > 1e-7
    assert set(found) == set(expected)
    worst = max((float(np.abs(found[path] - expected[path]).max()), path) for path in expected)
    assert worst[0] <= share * largest, (*worst, largest)


def embeddings(*seeds):
    """Embeddings of prompts that a seed each tells apart."""
    drawn = [np.random.default_rng(seed).standard_normal((DIT.text_length, TEXT_WIDTH)) for seed in seeds]
    return np.stack(drawn).astype(np.float32)
