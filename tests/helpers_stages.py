"""Stages small enough to train in a test, and the gradients that a training step took."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from helpers_text import write_tiny_tokenizer

from steady_jax import checkpoint, parallel, parameters
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
KINDS = {"dit": WanDiT, "vae": WanVAE, "text_encoder": UMT5Encoder}
CONFIGS = {"dit": DIT, "vae": VAE, "text_encoder": TEXT}
ROWS, COLUMNS = 4, 6  # of latents
# A step that subtracts SCALE * gradient: Adam's division by the gradient's size is nothing beside so large an eps.
SCALE = 1.0
PLAIN = OptimiserSettings(SCALE * 1e4, eps=1e4, weight_decay=0.0, clip=0.0)


def write_model(folder, seed=0, parts=(*KINDS, "tokenizer"), configs=None):
    """Writes a checkpoint folder with random weights, and returns it. Nothing is compiled for it."""
    with checkpoint.new_folder(folder) as draft:
        made = [_write_part(draft, name, seed, {**CONFIGS, **(configs or {})}[name]) for name in parts if name in KINDS]
        if "tokenizer" in parts:
            files = write_tiny_tokenizer(folder.with_name(f"{folder.name}-tokenizer"), TEXT.vocabulary)
            made.append(checkpoint.save_tokenizer(draft, files))
        checkpoint.save_description(draft, made)
    return folder


def network(part, folder=None, seed=0):
    """A network of a folder, or with weights of its own."""
    return Network(KINDS[part], CONFIGS[part], part, None if folder is None else str(folder), seed=seed)


def one_device():
    return parallel.make_mesh({})


def held(networks):
    """Networks that are not trained, on one device; stages may share them."""
    return Frozen(networks, one_device())


def setup(learners, frozen=None, *, optimiser=PLAIN, batch=2, updates=100, **how):
    """A stage's setup on one device; learners by name; frozen: from `held`."""
    frozen = frozen or held({})
    trained = {name: Learner(one, optimiser, updates) for name, one in learners.items()}
    return Setup(frozen.mesh, trained, frozen, Encoders(frozen, TOKENIZER), batch, **how)


def copied(state):
    """A state to be used up."""
    return jax.tree.map(jnp.copy, state)


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
    return jnp.asarray(np.stack(drawn), jnp.float32)


def _write_part(draft, name, seed, config):
    rng = np.random.default_rng([seed, sorted(KINDS).index(name)])
    shapes = parameters.named(parameters.abstract(KINDS[name], config))
    return checkpoint.save_component(
        draft, name, config, ((path, _weights(rng, path, x)) for path, x in shapes.items())
    )


def _weights(rng, path, leaf):
    """Of a size at which numbers stay near 1 from layer to layer."""
    drawn = rng.standard_normal(leaf.shape).astype(np.float32)
    if "norm" in path or path.endswith("gamma"):
        return 1 + 0.1 * drawn
    if not path.endswith("kernel"):
        return 0.1 * drawn
    inputs = leaf.shape[1:-1] if path.startswith("blocks/") else leaf.shape[:-1]  # blocks are stacked
    return drawn / math.sqrt(math.prod(inputs))
