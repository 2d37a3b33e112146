"""What the stages encode and ode_pairs write."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import CHANNELS, COLUMNS, ROWS, TOKENIZER, embeddings, held, network

from steady_jax.data.records import Contents, Shards, text_of
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.models.wan_vae import WanVAE
from steady_jax.pixels import from_uint8
from steady_jax.run.interrupt import Interrupt
from steady_jax.run.progress import RECORDS, Progress
from steady_jax.train.encoders import Encoders
from steady_jax.train.write_records import trimmed, write_all
from steady_jax.train.writing import Encode, ODEPairs, PairSettings

PROMPTS = ("rain", "a sea", "fire")
NEGATIVE = "blurred"
SHAPE = (2, ROWS, COLUMNS, CHANNELS)
SETTINGS = PairSettings(ODE(steps=4, shift=5.0, guidance=2.0), FewSteps((1000, 500)), SHAPE, seed=3)


@pytest.fixture(scope="module")
def frozen(model):
    networks = {name: network(name, model(0)) for name in ("vae", "text_encoder")}
    return held({"teacher": network("dit", model(0)), **networks})


def pairs_of(frozen):
    return ODEPairs(frozen, Encoders(frozen, TOKENIZER), TOKENIZER, SETTINGS, NEGATIVE)


@pytest.fixture(scope="module")
def pairs(frozen):
    return pairs_of(frozen)


def prompt_items(count=4):
    return [{"prompt": PROMPTS[number % len(PROMPTS)]} for number in range(count)]


class Stopping(Interrupt):
    """Told to end after some batches."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def check(self):
        self.left -= 1
        self.asked = self.left < 0
        super().check()


def write(folder, made, items, batch=2, records=6, interrupt=None):
    contents = Contents(made.fields(items), records, 2, {"seed": SETTINGS.seed})
    with Progress(records, unit=RECORDS, stream=io.StringIO()) as progress:
        told = {"part": (0, 1), "progress": progress, "interrupt": interrupt or Interrupt()}
        return write_all(str(folder), contents, items, made, batch=batch, **told)


@pytest.fixture(scope="module")
def written(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "whole"
    assert write(folder, pairs, prompt_items())
    return Shards(folder)


def test_a_trajectory_is_the_teachers_from_noise_to_clean(frozen, written):
    record = written[1]
    assert record["trajectory"].shape == (3, *SHAPE)
    assert text_of(record["prompt"]) == PROMPTS[1]
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(SETTINGS.seed), 1), SHAPE)
    teacher, encoder = frozen["teacher"], frozen["text_encoder"]
    own, negative = (encoder(*map(jnp.asarray, TOKENIZER.encode([text]))) for text in (PROMPTS[1], NEGATIVE))
    np.testing.assert_allclose(record["embeddings"], own[0, : len(record["embeddings"])], atol=1e-3)
    velocity = jax.jit(lambda x, t, text: teacher(x, jnp.full(x.shape[:2], t), teacher.encode_prompt(text)))
    x, states = noise[None], [noise]
    for before, after in zip(SETTINGS.ode.sigmas[:-1], SETTINGS.ode.sigmas[1:], strict=True):
        conditional, unconditional = (velocity(x, jnp.float32(1000 * before), text) for text in (own, negative))
        x = x + (after - before) * (conditional + SETTINGS.ode.guidance * (conditional - unconditional))
        states.append(x[0])
    kept = np.stack([states[number] for number in (0, 2, 4)])
    np.testing.assert_allclose(record["trajectory"], kept, atol=5e-3 * np.abs(kept).max())


def test_a_record_depends_on_its_number_and_not_on_the_batch(frozen, written, tmp_path):
    assert write(tmp_path / "other", pairs_of(frozen), prompt_items(), batch=4)
    other = Shards(tmp_path / "other")
    for number in range(6):
        for name, array in written[number].items():
            np.testing.assert_allclose(other[number][name], array, atol=2e-3, rtol=2e-3, err_msg=f"{number} {name}")
    # items are gone through again, with other noise
    assert text_of(written[4]["prompt"]) == text_of(written[0]["prompt"])
    assert abs(written[4]["trajectory"] - written[0]["trajectory"]).max() > 0.5


def test_what_was_interrupted_goes_on_with_the_missing_shards(pairs, written, tmp_path):
    folder = tmp_path / "pairs"
    with pytest.raises(KeyboardInterrupt):
        write(folder, pairs, prompt_items(), interrupt=Stopping(after=2))
    there = {path.name: path.stat().st_mtime_ns for path in folder.glob("records-*.array_record")}
    assert len(there) == 2
    assert write(folder, pairs, prompt_items())
    assert all((folder / name).stat().st_mtime_ns == time for name, time in there.items())
    for number in range(6):
        for name, array in written[number].items():
            np.testing.assert_array_equal(Shards(folder)[number][name], array)


def test_embeddings_of_the_data_are_taken_as_they_are(pairs):
    items = [{"embeddings": np.asarray(one)} for one in embeddings(1, 2)]
    first, _ = pairs(np.arange(2), items)
    assert set(first) == {"trajectory", "embeddings"}
    np.testing.assert_allclose(first["embeddings"], items[0]["embeddings"], atol=1e-3, rtol=1e-3)


def test_clips_become_latents_and_prompts_embeddings(frozen):
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2, 3, 4 * ROWS, 4 * COLUMNS, 3)).astype(np.uint8)
    moving = np.zeros((2, 4 * ROWS, 4 * COLUMNS), bool)
    moving[1, :4, :2] = True  # half of the second clip's first latent
    given = zip(clips, moving, PROMPTS, strict=False)
    items = [{"pixels": clip, "moving": where, "prompt": prompt} for clip, where, prompt in given]
    made = Encode(frozen, Encoders(frozen, TOKENIZER), TOKENIZER, SHAPE)
    fields = made.fields(items)
    records = made(np.arange(2), items)
    assert all(fields[name].holds(array) for record in records for name, array in record.items())
    assert set(fields) == {"latents", "moving", "prompt", "embeddings"}
    assert np.argwhere(np.stack([record["moving"] for record in records])).tolist() == [[1, 0, 0]]
    assert records[1]["moving"][0, 0] == 0.5
    latents = jax.jit(WanVAE.encode)(frozen["vae"], from_uint8(jnp.asarray(clips)))
    np.testing.assert_allclose(np.stack([record["latents"] for record in records]), latents, atol=1e-2, rtol=1e-3)
    assert [text_of(record["prompt"]) for record in records] == list(PROMPTS[:2])


def test_embeddings_are_kept_up_to_their_last_token():
    rows = np.zeros((5, 2), np.float32)
    assert trimmed(rows).shape == (1, 2)
    rows[1, 1], rows[3, 0] = 1, 2
    np.testing.assert_array_equal(trimmed(rows), rows[:4].astype(np.float16))
