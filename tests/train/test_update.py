import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers_stages import PLAIN, arrays, close, embeddings, network, one_device, setup, subtracted

from steady_jax.train import networks
from steady_jax.train.networks import Learner
from steady_jax.train.stages.base import BaseStage
from steady_jax.train.update import check_batch

BATCH = 4


class Prompts(BaseStage):
    """A stage whose loss is the mean square of what becomes of prompts; nothing in it is drawn."""

    def __init__(self, setup):
        super().__init__(setup)
        self._gradient = jax.jit(jax.value_and_grad(lambda dit, text: jnp.mean(dit.encode_prompt(text).k ** 2)))

    def train_step(self, step, state, batch):
        def gradients_of(piece):
            text = self.update.piece(batch, piece)["embeddings"]
            loss, gradient = self._gradient(state.networks["dit"].weights, text)
            return {"dit": gradient}, {"loss": loss}

        state, metrics = self.update(state, step, ["dit"], gradients_of)
        return self.update.advance(state), metrics


def trained(model, **how):
    stage = Prompts(setup({"dit": network("dit", model(0))}, batch=BATCH, **how))
    state = stage.start()
    before = arrays(state.networks["dit"].weights)
    state, metrics = stage.train_step(0, state, {"embeddings": embeddings(*range(BATCH))})
    found = {name: float(value) for name, value in metrics.items()}
    return subtracted(before, arrays(state.networks["dit"].weights)), found, state


def test_micro_batches_are_one_batch(model):
    whole, metrics, state = trained(model)
    assert int(state.step) == 1
    assert set(metrics) == {"loss", "dit/gradient_norm"}
    for accumulate in (2, 4):
        pieces, of_pieces, _ = trained(model, accumulate=accumulate)
        close(pieces, whole, share=1e-6)
        for name, value in metrics.items():
            np.testing.assert_allclose(of_pieces[name], value, rtol=1e-5)


def test_micro_batches_take_every_item_once(model):
    stage = Prompts(setup({"dit": network("dit", model(0))}, batch=BATCH, accumulate=2))
    batch = {"numbers": jnp.arange(BATCH)}
    pieces = [np.asarray(stage.update.piece(batch, index)["numbers"]) for index in range(2)]
    assert sorted(np.concatenate(pieces).tolist()) == list(range(BATCH))


def test_a_network_starts_with_the_weights_of_its_folder(model):
    learners = {"dit": Learner(network("dit", model(0)), PLAIN, 10), "other": Learner(network("dit"), PLAIN, 10)}
    mesh = one_device()
    state = networks.start(learners, mesh, "all")
    stored = arrays(network("dit", model(0)).load(mesh))
    for path, array in arrays(state.networks["dit"].weights).items():
        np.testing.assert_array_equal(array, stored[path], err_msg=path)
    abstract = networks.abstract_state(learners, mesh, "all")
    said, found = jax.tree.leaves(abstract), jax.tree.leaves(state)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for wanted, leaf in zip(said, found, strict=True):
        assert (wanted.shape, wanted.dtype) == (leaf.shape, leaf.dtype)
        assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)


def test_frozen_weights_have_the_type_that_is_asked_for(model):
    found = network("dit", model(0))
    coarse = type(found)(found.kind, found.config, found.part, found.folder, dtype="bfloat16").load(one_device())
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(coarse)} == {"bfloat16"}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(found.load(one_device()))} == {"float32"}


@pytest.mark.parametrize(
    ("batch", "pieces", "devices", "message"),
    [
        (8, 3, 1, "shared equally by 1 devices .* in 3 micro-batches, got 8 items"),
        (8, 2, 8, "shared equally by 8 devices .* in 2 micro-batches, got 8 items"),
        (8, 0, 1, "accumulate must be at least 1 micro-batch, got 0"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(batch, pieces, devices, message):
    check_batch(16, 2, 8)
    with pytest.raises(ValueError, match=message):
        check_batch(batch, pieces, devices)


def test_an_unknown_cut_is_refused():
    with pytest.raises(ValueError, match="cut must be one of all, optimiser, got 'none'"):
        networks.abstract_state({}, one_device(), "none")
