"""The network that names kinds: it learns, comes back from its file, and says what it cannot take."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from steady_jax import parameters
from steady_jax.evaluation import classifier
from steady_jax.evaluation.classifier import Classifier, probabilities
from steady_jax.evaluation.classifier_training import changed, train

KINDS = ("still", "moving")
SIZE = 16

answers = jax.jit(lambda network, pixels: network(pixels))  # eight stretches at a time: it is compiled once


def stretches(count, seed=0):
    """Blocks that stand still, and blocks that are new in every frame: no single frame tells them apart."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count, dtype=np.int32) % 2
    blocks = rng.integers(0, 256, (count, classifier.FRAMES, SIZE // 4, SIZE // 4, 3), np.uint8)
    pixels = blocks.repeat(4, axis=2).repeat(4, axis=3)
    pixels[kinds == 0] = pixels[kinds == 0, :1]
    return pixels, kinds


def untrained():
    return Classifier(KINDS, 8, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def learnt():
    """The network, the loss of each step, and whether training left alone what it was given."""
    losses, given = [], untrained()
    before = jax.tree.map(np.array, parameters.named(given))
    batches = (stretches(8, seed) for seed in itertools.count(1))
    network = train(given, batches, 60, learning_rate=1e-2, say=lambda step, loss: losses.append((step, loss)))
    same = {path: np.array_equal(array, before[path]) for path, array in parameters.named(given).items()}
    return network, losses, same


def test_training_lowers_the_loss_on_what_only_motion_tells_apart(learnt):
    network, losses, _ = learnt
    assert [step for step, _ in losses] == list(range(1, 61))
    assert np.mean([loss for _, loss in losses[-10:]]) < 0.5 * np.mean([loss for _, loss in losses[:5]])
    pixels, kinds = stretches(8)
    np.testing.assert_array_equal(np.argmax(answers(network, pixels), -1), kinds)


def test_weights_come_back(learnt, tmp_path):
    network, *_ = learnt
    classifier.save(network, tmp_path / "weights.npz")
    back = classifier.load(tmp_path / "weights.npz")
    assert back.kinds == KINDS
    pixels, _ = stretches(8)
    np.testing.assert_array_equal(answers(back, pixels), answers(network, pixels))


def test_no_file_is_overwritten(tmp_path):
    (tmp_path / "weights.npz").write_text("precious")
    with pytest.raises(FileExistsError):
        classifier.save(untrained(), tmp_path / "weights.npz")
    assert (tmp_path / "weights.npz").read_text() == "precious"


def test_another_file_is_no_classifier(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz holds no classifier"):
        classifier.load(tmp_path / "other.npz")


@pytest.mark.parametrize("cut", [0, 100])
def test_a_damaged_file_is_named(tmp_path, cut):
    classifier.save(untrained(), tmp_path / "weights.npz")
    (tmp_path / "weights.npz").write_bytes((tmp_path / "weights.npz").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"weights\.npz is no file of a classifier, or damaged"):
        classifier.load(tmp_path / "weights.npz")


def test_the_network_that_is_given_stays_as_it_is(learnt):
    network, _, same = learnt
    assert all(same.values())
    for path, array in parameters.named(untrained()).items():
        assert not np.array_equal(array, parameters.named(network)[path]), path


def test_a_video_is_named_by_its_last_whole_stretches(learnt):
    network, *_ = learnt
    pixels, _ = stretches(8)  # still, moving, still, ...
    video = np.concatenate([pixels[1][:5], pixels[0], pixels[2]])
    found = probabilities(network, video)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found[0] > 0.8
    expected = jax.nn.softmax(answers(network, pixels), -1)[np.array([0, 2])].mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_changed_stretches_are_pictures_and_each_changes_in_its_own_way():
    pixels, _ = stretches(2)
    pixels[1] = pixels[0]
    change = jax.jit(changed)
    made = np.asarray(change(jax.random.key(0), pixels))
    assert made.shape == (2, len(classifier.PICKED), SIZE, SIZE, 3)
    assert np.abs(made).max() <= 1
    assert np.abs(made[0] - made[1]).mean() > 0.05
    np.testing.assert_array_equal(made, change(jax.random.key(0), pixels))


def test_what_cannot_be_is_refused_by_name():
    pixels, kinds = stretches(2)
    network = untrained()
    with pytest.raises(ValueError, match="16 frames, got 9"):
        network(pixels[:, :9])
    with pytest.raises(ValueError, match="16 frames at least, got 9"):
        probabilities(network, pixels[0, :9])
    with pytest.raises(ValueError, match="16 frames, got 9"):
        train(network, [(pixels[:, :9], kinds)], 1)
    with pytest.raises(ValueError, match="3 steps take as many batches, got 0"):
        train(network, [], 3)
    with pytest.raises(ValueError, match=r"0\.\.1 \(still, moving\), got 0\.\.2"):
        train(network, [(pixels, np.array([0, 2], np.int32))], 1)
