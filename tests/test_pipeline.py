import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_pipeline import MODEL, open_pipeline
from helpers_torch import TINY

from steady_jax import parameters
from steady_jax.block import BlockSettings
from steady_jax.config import ModelConfig
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.memory.base import same_scene
from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.memory.steady import Steady
from steady_jax.pipeline import SteadyPipeline
from steady_jax.text import ByteTokenizer

SETTINGS = BlockSettings(Steady(window=9), FewSteps((1000, 500)), frames=3)
PROMPT = "Rain on a pond"


@pytest.fixture(scope="module")
def pipeline():
    return open_pipeline(SETTINGS)


@pytest.fixture(scope="module")
def blocks(pipeline):
    return list(pipeline.stream(PROMPT, seconds=2, seed=3))


def test_a_stream_yields_uint8_blocks_of_exactly_the_asked_length(blocks):
    assert [len(frames) for frames in blocks] == [1 + 4 * 2, 4 * 3, 32 - 9 - 12]
    for frames in blocks:
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (32, 48, 3)
    assert np.concatenate(blocks).std() > 5


def test_the_call_equals_the_stream_bit_for_bit(pipeline, blocks):
    np.testing.assert_array_equal(pipeline(PROMPT, seconds=2, seed=3), np.concatenate(blocks))


def test_embeddings_do_what_their_prompt_does(pipeline, blocks):
    embeddings = pipeline.encode(PROMPT)
    pipeline.release_text_encoder()
    np.testing.assert_array_equal(pipeline(embeddings, seconds=2, seed=3), np.concatenate(blocks))


def test_a_shorter_video_is_the_beginning_of_a_longer_one(pipeline, blocks):
    np.testing.assert_array_equal(pipeline(PROMPT, seconds=0.5, seed=3), np.concatenate(blocks)[:8])


def test_prompt_and_seed_both_matter(pipeline, blocks):
    first = blocks[0].astype(int)
    for prompt, seed in ((PROMPT, 4), ("A dry desert", 3)):
        other = next(pipeline.stream(prompt, seconds=1, seed=seed)).astype(int)
        assert np.abs(other - first).max() > 0


def test_frames_equal_networks_called_by_hand(pipeline, blocks):
    vae = pipeline.network("vae")
    engine, latents = pipeline.engine, []
    prompt, memory = engine.encode_prompt(np.asarray(pipeline.encode(PROMPT))), engine.empty_memory()
    for _ in range(3):
        memory, block = engine.make_block(memory, prompt, np.array([3], np.uint32), same_scene())
        latents.append(block)
    latents = jnp.concatenate(latents, axis=1)
    pixels = jax.jit(lambda vae, z: vae.decode(z))(vae, latents)[0]
    expected = np.clip((np.asarray(pixels) + 1) * 127.5, 0, 255)
    np.testing.assert_allclose(np.concatenate(blocks), expected[:32], atol=1)


def test_each_program_is_compiled_once_for_all_blocks(pipeline, blocks):
    del blocks
    assert pipeline.engine.programs["block"].compile_seconds > 0
    with jax.log_compiles(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", lambda *_: pytest.fail("compiled again"))
        pipeline(PROMPT, seconds=2, seed=1)


def test_the_memory_is_donated_from_block_to_block(pipeline, blocks):
    del blocks
    dit = MODEL.dit
    tokens = SETTINGS.policy.window * dit.tokens_per_frame(*pipeline.engine.latent_size)
    memory_bytes = 2 * dit.layers * tokens * dit.width * 4
    assert pipeline.engine.programs["block"].memory["arguments"] > memory_bytes
    assert pipeline.engine.programs["block"].memory["results"] < memory_bytes / 10


def test_a_released_text_encoder_and_a_dropped_pipeline_free_their_memory():
    dropped = open_pipeline(SETTINGS)
    dropped.encode(PROMPT)
    encoder = weakref.ref(parameters.named(dropped.network("text_encoder"))["norm"])
    transformer = weakref.ref(parameters.named(dropped.network("dit"))["head/linear/bias"])
    gc.disable()
    try:
        dropped.release_text_encoder()
        assert encoder() is None
        assert transformer() is not None
        del dropped
        assert transformer() is None
    finally:
        gc.enable()


def test_a_rollout_without_end_needs_a_policy_without_end():
    short = open_pipeline(BlockSettings(SelfForcing(window=6), FewSteps((1000,)), frames=3))
    with pytest.raises(ValueError, match="a video without end was asked for"):
        short.session(PROMPT, endless=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": 0.0}, "seconds must be positive"),
        ({"seconds": -1.0}, "got -1.0"),
        ({"seconds": float("nan")}, "got nan"),
        ({"seconds": 0.01}, "at least one frame"),
        ({"seconds": 1e30}, "counted in 32 bits"),
        ({"seed": -1}, "seed must lie in 0"),
        ({"seed": 2**32}, "got 4294967296"),
        ({"prompt": "  "}, "must hold text"),
        ({"prompt": np.zeros((1, 4, 48), np.float32)}, r"embeddings must be \[1, 16, 48\], .* got \[1, 4, 48\]"),
    ],
)
def test_bad_requests_are_refused_before_any_network_is_loaded(arguments, message):
    fresh = open_pipeline(SETTINGS)
    fresh.engine._load = lambda name: pytest.fail(f"loaded {name}")
    with pytest.raises(ValueError, match=message):
        fresh.stream(**{"prompt": PROMPT, "seconds": 1.0, **arguments})


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        (SETTINGS, {"height": 40}, "multiples of 16 pixels, got 40x48; the nearest size is 32x48"),
        (SETTINGS, {"width": 0}, "got 32x0; the nearest size is 32x16"),
        (BlockSettings(Steady(window=8), FewSteps(), 6), {}, "must hold the sink and a block"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, size, message):
    with pytest.raises(ValueError, match=message):
        open_pipeline(settings, **size)


def test_a_policy_that_cannot_go_that_far_says_so_at_once():
    short = open_pipeline(BlockSettings(SelfForcing(window=6), FewSteps((1000,)), frames=3))
    assert short.stream(PROMPT, seconds=1.3) is not None
    with pytest.raises(ValueError, match="ends after 6 latent frames, but 9 frames were asked for"):
        short.stream(PROMPT, seconds=1.4)


def test_a_tokenizer_of_another_model_is_refused():
    with pytest.raises(ValueError, match="got 96 rows and 259 pieces"):
        SteadyPipeline.from_random(ModelConfig(**TINY), SETTINGS, ByteTokenizer(), height=32, width=32)


@pytest.mark.parametrize(
    ("attention", "message"),
    [("cudn", "unknown attention backend 'cudn'"), ("cudnn", "'cudnn' (does not run on|takes)")],
)
def test_attention_that_does_not_run_here_is_refused(attention, message):
    def opened():
        model = MODEL.computing_in("float32", attention)
        return SteadyPipeline.from_random(model, SETTINGS, ByteTokenizer(16), height=32, width=48)

    with pytest.raises(ValueError, match=message):
        opened()
