"""A tiny pipeline with random weights, small enough that a test may open several."""

import dataclasses

from helpers_torch import TINY

from steady_jax.block import BlockSettings
from steady_jax.config import ModelConfig
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.steady import Steady
from steady_jax.pipeline import SteadyPipeline
from steady_jax.text import ByteTokenizer

TEXT_ENCODER = dataclasses.replace(TINY["text_encoder"], vocabulary=ByteTokenizer.vocabulary)
MODEL = ModelConfig(TINY["dit"], TINY["vae"], TEXT_ENCODER).computing_in("float32", "auto")
# small enough that a few blocks see evictions and a flush
POLICY = Steady(window=9, alpha=0.9, flush_period=4, flush_warmup=3)
SETTINGS = BlockSettings(POLICY, FewSteps((1000, 500)), frames=3)
HEIGHT, WIDTH = 32, 48


def open_pipeline(settings=SETTINGS, **options):
    options = {"height": HEIGHT, "width": WIDTH, **options}
    return SteadyPipeline.from_random(MODEL, settings, ByteTokenizer(MODEL.dit.text_length), **options)
