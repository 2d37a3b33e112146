"""A session: steered, paused, saved and restored, from pictures and clips, and in batches."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers_pipeline import HEIGHT, POLICY, SETTINGS, WIDTH, open_pipeline

from steady_jax.memory.self_forcing import SelfForcing
from steady_jax.scenes import Scene

PROMPT = "Rain on a pond"
SECONDS = 5.0  # 7 blocks of 3 latent frames: warm-up, evictions, a flush, warm-up again
BLOCKS = 7


@pytest.fixture(scope="module")
def pipeline():
    return open_pipeline()


@pytest.fixture(scope="module")
def patient(pipeline):
    """Frames of a session that makes no block before it is asked for."""
    return list(pipeline.session(PROMPT, SECONDS, seed=3, lookahead=False))


@pytest.fixture(scope="module")
def clip():
    f, y, x = np.ogrid[:9, :HEIGHT, :WIDTH]
    waves = [128 + 100 * np.sin((x + k * f + y) / 9) for k in (1, 2, 3)]
    return np.stack([np.broadcast_to(wave, (9, HEIGHT, WIDTH)) for wave in waves], -1).astype(np.uint8)


def joined(blocks):
    return np.concatenate([np.asarray(block) for block in blocks], axis=1)


def test_a_session_makes_what_the_stream_makes_with_and_without_lookahead(pipeline, patient):
    assert [block.shape[1] for block in patient] == [9, 12, 12, 12, 12, 12, 11]
    np.testing.assert_array_equal(joined(patient)[0], pipeline(PROMPT, SECONDS, seed=3))
    np.testing.assert_array_equal(joined(pipeline.session(PROMPT, SECONDS, seed=3)), joined(patient))


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("blocks", [1, 3, 5])
def test_a_restored_session_goes_on_with_the_same_frames(pipeline, patient, tmp_path, blocks, compact):
    session = pipeline.session(PROMPT, SECONDS, seed=3, keep_latents=compact)
    first = [next(session) for _ in range(blocks)]
    session.save(tmp_path, compact=compact, record={"note": "x"})
    restored = pipeline.restore(tmp_path, keep_latents=compact)
    assert (restored.frames, restored.seeds) == (session.frames, (3,))
    np.testing.assert_array_equal(joined([*first, *restored]), joined(patient))
    assert restored.finished


def test_a_saved_session_is_not_disturbed(pipeline, patient, tmp_path):
    session = pipeline.session(PROMPT, SECONDS, seed=3)
    blocks = []
    for frames in session:
        blocks.append(frames)
        session.save(tmp_path)
    np.testing.assert_array_equal(joined(blocks), joined(patient))
    assert len(list(tmp_path.iterdir())) == 1  # older states are gone


def test_another_restore_of_a_restored_session(pipeline, patient, tmp_path):
    session = pipeline.session(PROMPT, SECONDS, seed=3, lookahead=False)
    frames = [next(session)]
    for _ in range(BLOCKS - 1):
        session.save(tmp_path)
        session = pipeline.restore(tmp_path, lookahead=False)
        frames.append(next(session))
    np.testing.assert_array_equal(joined(frames), joined(patient))


@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize(("flush", "cut"), [(None, False), (None, True), (False, False), (False, True)])
def test_a_prompt_between_blocks_is_a_scene_of_a_schedule(pipeline, lookahead, flush, cut):
    session = pipeline.session(PROMPT, seed=3, endless=True, lookahead=lookahead)
    frames = [next(session) for _ in range(2)]
    begins = session.prompt("A dry desert", flush=flush, cut=cut)
    assert begins == 2 + lookahead
    frames += [next(session) for _ in range(3)]
    scenes = [Scene(PROMPT, seconds=begins * 0.75), Scene("A dry desert", seconds=60, flush=flush, cut=cut)]
    planned = pipeline.session(scenes, seed=3)
    np.testing.assert_array_equal(joined(frames), joined([next(planned) for _ in range(5)]))


def test_prompt_flush_and_cut_all_change_what_follows(pipeline):
    def after(flush, cut, text="A dry desert"):
        session = pipeline.session(PROMPT, seed=3, endless=True, lookahead=False)
        first = [next(session) for _ in range(2)]
        session.prompt(text, flush=flush, cut=cut)
        return first, next(session).astype(int)

    ways = [(None, False), (None, True), (False, False), (False, True), (None, False, "Fog")]
    results = [after(*way) for way in ways]
    for index, (before, frames) in enumerate(results):
        np.testing.assert_array_equal(joined(before), joined(results[0][0]))
        for _, other in results[:index]:
            assert np.abs(frames - other).max() > 0


def test_a_steered_session_is_restored_with_its_scenes(pipeline, tmp_path):
    def steered(session, restore):
        frames = [next(session) for _ in range(2)]
        session.prompt("A dry desert", cut=True)
        frames.append(next(session))
        if restore:
            session.save(tmp_path)
            session = open_pipeline().restore(tmp_path)  # as another process would
        return joined([*frames, *[next(session) for _ in range(2)]])

    expected = steered(pipeline.session(PROMPT, seed=3, endless=True), restore=False)
    np.testing.assert_array_equal(steered(pipeline.session(PROMPT, seed=3, endless=True), restore=True), expected)


def test_send_steers_a_stream(pipeline):
    stream = pipeline.stream(PROMPT, seconds=4, seed=3)
    frames = [next(stream), stream.send(Scene("A dry desert", cut=True)), *stream]
    planned = pipeline.stream([Scene(PROMPT, seconds=1.5), Scene("A dry desert", cut=True)], seconds=4, seed=3)
    np.testing.assert_array_equal(np.concatenate(frames), np.concatenate(list(planned)))


def test_a_paused_session_waits(pipeline, patient):
    session, frames = pipeline.session(PROMPT, SECONDS, seed=3), []
    for block in session:
        frames.append(block)
        if len(frames) == 2:
            session.pause()
    assert len(frames) == 2
    session.play()
    np.testing.assert_array_equal(joined([*frames, *session]), joined(patient))


def test_a_request_that_cannot_be_leaves_the_video_as_it_was(pipeline):
    short = open_pipeline(dataclasses.replace(SETTINGS, policy=SelfForcing(window=9, rolling=True)))
    session = short.session(PROMPT, endless=True)
    next(session)
    with pytest.raises(ValueError, match=r"self_forcing has no cut .* infinity_rope or steady"):
        session.prompt("Fog", cut=True)
    with pytest.raises(ValueError, match="must hold text"):
        session.prompt("  ")
    with pytest.raises(ValueError, match="a batch of 1 videos takes one prompt or as many, got 2"):
        session.prompt(["Fog", "Snow"])
    assert next(session).shape[1] == 12
    with pytest.raises(ValueError, match="has no flush"):
        short.stream([Scene(PROMPT), Scene("Fog", flush=True)])


class Interrupting(np.ndarray):
    """Frames that are interrupted the first time somebody takes them."""

    asked = False

    def __getitem__(self, key):
        if not self.asked:
            self.asked = True
            raise KeyboardInterrupt
        return np.asarray(self)[key]


def test_an_interrupt_while_waiting_loses_no_block(pipeline, patient):
    session = pipeline.session(PROMPT, SECONDS, seed=3)
    frames = [next(session), next(session)]
    session._waiting[0] = joined(session._waiting[0]).view(Interrupting)
    with pytest.raises(KeyboardInterrupt):
        next(session)
    frames += list(session)
    np.testing.assert_array_equal(joined(frames), joined(patient))


def test_a_block_that_was_torn_ends_the_session(pipeline, tmp_path):
    session = pipeline.session(PROMPT, endless=True, lookahead=False)
    next(session)
    session.save(tmp_path)
    session.live = "gone"  # what an interrupt between two programs leaves is of no use
    for _ in range(2):
        with pytest.raises((AttributeError, RuntimeError)):
            next(session)
    with pytest.raises(RuntimeError, match="restore the session from a saved state"):
        session.save(tmp_path)
    assert next(pipeline.restore(tmp_path)).shape[1] == 12


def test_steering_for_long_gathers_nothing(pipeline):
    session = pipeline.session(PROMPT, endless=True)
    for text in ("Fog", "Snow", "Fire"):
        next(session)
        session.prompt(text)
    assert len(session._scenes) <= 2


ON_ANOTHER_DEVICE = """
import jax
from helpers_pipeline import open_pipeline
first, second = jax.devices()
session = open_pipeline().on(second).session("Fog", endless=True)
next(session)
leaves = jax.tree.leaves((session.live, session._engine.empty_memory()))
assert {device for leaf in leaves for device in leaf.devices()} == {second}
"""


@pytest.mark.slow
def test_everything_of_another_device_lies_there():
    here = Path(__file__).parent
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = f"{here.parent}:{here}"
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_DEVICE], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_state_of_other_settings_is_refused_by_name(pipeline, tmp_path):
    session = pipeline.session(PROMPT, SECONDS)
    with pytest.raises(ValueError, match="nothing to save before the first block"):
        session.save(tmp_path)
    next(session)
    session.save(tmp_path)
    other = dataclasses.replace(SETTINGS, policy=dataclasses.replace(POLICY, alpha=0.5))
    with pytest.raises(ValueError, match=r"(?s)memory\.alpha: 0\.9 -> 0\.5"):
        open_pipeline(other).restore(tmp_path)
    with pytest.raises(ValueError, match=r"weights: random, seed 0 -> random, seed 1"):
        open_pipeline(seed=1).restore(tmp_path)
    with pytest.raises(ValueError, match="holds no saved state"):
        pipeline.restore(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="keep_latents=True"):
        session.save(tmp_path, compact=True)


def test_a_picture_comes_out_once_and_the_video_goes_on_from_it(pipeline, clip):
    start = pipeline.start_from(clip[:1])
    frames = pipeline(PROMPT, seconds=2, seed=3, start=start)
    assert len(frames) == 1 + 32
    decoded = held_still(pipeline, clip[:1])
    np.testing.assert_allclose(frames[0].astype(int), decoded, atol=1)
    other = pipeline(PROMPT, seconds=2, seed=3, start=pipeline.start_from(clip[4:5]))
    assert np.abs(frames[1:].astype(int) - other[1:]).max() > 0  # the picture is remembered


def held_still(pipeline, picture):
    """The last frame of a block in which the picture stands still, through the whole VAE at once."""
    vae = pipeline.network("vae")
    pixels = vae.decode(vae.encode(jnp.asarray(np.repeat(picture, 9, axis=0)[None] / np.float32(127.5) - 1)))
    return np.round((np.clip(np.asarray(pixels[0, -1]), -1, 1) + 1) * 127.5)


def test_a_clip_comes_out_first(pipeline, clip):
    frames = pipeline(PROMPT, seconds=1, seed=3, start=pipeline.start_from(clip))
    assert len(frames) == 9 + 16
    vae = pipeline.network("vae")
    pixels = vae.decode(vae.encode(jnp.asarray(clip[None] / np.float32(127.5) - 1)))[0]
    np.testing.assert_allclose(frames[:9], (np.clip(np.asarray(pixels), -1, 1) + 1) * 127.5, atol=1)


def test_a_cut_after_a_start_comes_after_it(pipeline, clip):
    start = pipeline.start_from(clip)
    plain, cut = (pipeline([Scene(PROMPT, cut=cut)], seconds=1, seed=3, start=start) for cut in (False, True))
    np.testing.assert_array_equal(plain[:9], cut[:9])
    assert np.abs(plain[9:].astype(int) - cut[9:]).max() > 0


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_a_video_from_a_clip_is_restored(pipeline, clip, tmp_path, blocks):
    long = np.concatenate([clip, clip[1:], clip[1:5]])  # 21 frames: two blocks
    start = pipeline.start_from(long)
    whole = joined(pipeline.session(PROMPT, 2, seed=3, start=start))
    session = pipeline.session(PROMPT, 2, seed=3, start=start, lookahead=False)
    first = [next(session) for _ in range(blocks)]
    session.save(tmp_path)
    if blocks == 1:
        with pytest.raises(ValueError, match="give them again"):
            pipeline.restore(tmp_path)
    with pytest.raises(ValueError, match="did not start from these frames"):
        pipeline.restore(tmp_path, start=pipeline.start_from(clip))
    restored = pipeline.restore(tmp_path, start=start if blocks == 1 else None)
    np.testing.assert_array_equal(joined([*first, *restored]), whole)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.uint8), "must have the video's size 32x48, got 32x32"),
        (np.zeros((10, 32, 48, 3), np.uint8), "crop"),
    ],
)
def test_starts_that_do_not_fit_are_refused(pipeline, frames, message):
    with pytest.raises(ValueError, match=message):
        pipeline.start_from(frames)


@pytest.mark.slow
def test_videos_of_a_batch_are_what_they_would_be_alone(pipeline):
    both = open_pipeline(batch=2)
    plans = [pipeline.timeline(prompt, 3.0) for prompt in (PROMPT, "A dry desert")]
    frames = joined(both.session_of(plans, [3, 4]))
    for index, (prompt, seed) in enumerate([(PROMPT, 3), ("A dry desert", 4)]):
        alone = pipeline(prompt, 3.0, seed)
        assert np.abs(frames[index].astype(int) - alone).max() <= 1
    with pytest.raises(ValueError, match="must be in step"):
        both.session_of([plans[0], pipeline.timeline(PROMPT, 4.0)], [3, 4])
    with pytest.raises(ValueError, match="needs as many plans and seeds, got 1 and 1"):
        both.session_of(plans[:1], [3])
