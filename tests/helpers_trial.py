"""A model of the tiny sizes with random weights, and a classifier that knows nothing, as a trial reads them."""

import numpy as np
from flax import nnx
from helpers_text import write_tiny_tokenizer

from steady_jax import checkpoint, parameters
from steady_jax.config import MODELS, sampling_config, sampling_of
from steady_jax.data.nature_flow import KINDS
from steady_jax.evaluation import classifier
from steady_jax.pipeline import NETWORKS


def write_inputs(folder):
    """FOLDER/model and FOLDER/classifier.npz."""
    _write_model(folder / "model", write_tiny_tokenizer(folder / "pieces"))
    classifier.save(classifier.Classifier(KINDS, rngs=nnx.Rngs(0)), folder / "classifier.npz")


def _write_model(folder, tokenizer):
    config = sampling_config("steady", "tiny")
    config.height = config.width = 64
    config.block_frames, config.memory.window, config.memory.flush_period, config.dtype = 3, 9, 7, "float32"
    rng = np.random.default_rng(0)
    model = MODELS["tiny"].computing_in("float32", "auto")
    with checkpoint.new_folder(folder) as draft:
        parts = [checkpoint.save_tokenizer(draft, tokenizer)]
        for name, network in NETWORKS.items():
            sizes = getattr(model, name)
            shapes = parameters.named(parameters.abstract(network, sizes))
            pairs = ((path, 0.05 * rng.standard_normal(leaf.shape, np.float32)) for path, leaf in shapes.items())
            parts.append(checkpoint.save_component(draft, name, sizes, pairs))
        checkpoint.save_description(draft, parts, sampling_of(config))
