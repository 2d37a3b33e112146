import contextlib
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from steady_jax.train.checkpoints import Checkpoints
from steady_jax.train.state import Trained, TrainState


class Weights(nnx.Module):
    def __init__(self, w):
        self.w = nnx.Param(w)


def state_of(step, width=4):
    weights = Weights(jax.random.normal(jax.random.key(0), (3, width)))
    return TrainState(jnp.int32(step), {"critic": Trained(weights, (jnp.zeros((3, width), jnp.bfloat16),))})


def abstract(state):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def test_what_is_saved_is_the_state_and_the_record_of_that_moment(tmp_path):
    add = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state, record, weights_at = state_of(3, width=1_000_000), {"means": {"loss": [1.0, 2]}}, {}
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        assert checkpoints.latest is None
        for step in (3, 4, 5):
            weights_at[step] = np.array(state.networks["critic"].weights.w[...])
            checkpoints.save(step, state, record)
            state = add(state)  # uses up what is being written
            record["means"]["loss"][1] += 1
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        assert checkpoints.latest == 5
        assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["4", "5"]
        for step in (4, 5):
            restored = checkpoints.restore(step, abstract(state))
            assert int(restored.step) == step
            np.testing.assert_array_equal(restored.networks["critic"].weights.w[...], weights_at[step])
            assert restored.networks["critic"].optimiser[0].dtype == jnp.bfloat16
            assert checkpoints.record(step) == {"means": {"loss": [1.0, step - 1]}}


def test_half_a_checkpoint_is_none(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(1, state_of(1), {})
    for step in (2, 3):
        (tmp_path / f"{step}.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        assert checkpoints.latest == 1
        checkpoints.save(2, state_of(2), {})
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        assert int(checkpoints.restore(2, abstract(state_of(0))).step) == 2


def test_a_state_of_another_shape_is_refused_with_all_paths(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state_of(1), {})
        checkpoints.wait()
        with pytest.raises(ValueError, match=r"2 parameters do not fit(.|\n)*networks/critic/optimiser/0"):
            checkpoints.restore(1, abstract(state_of(1, width=5)))


def test_a_damaged_checkpoint_is_named(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state_of(1), {})
        checkpoints.wait()
        for file in (tmp_path / "1" / "state").rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
        with pytest.raises(ValueError, match=rf"{tmp_path}/1 cannot be read .*the one before it"):
            checkpoints.restore(1, abstract(state_of(1)))


def test_a_disk_that_refuses_is_told_and_what_was_there_stays(tmp_path, small_disk):
    def fails(call):
        with pytest.raises(OSError, match=f"a checkpoint could not be written to {tmp_path}"):
            call()

    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state_of(1), {})
        checkpoints.wait()
        with small_disk():
            checkpoints.save(2, state_of(2, width=100_000), {})
            fails(checkpoints.wait)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.latest == 1
        assert int(checkpoints.restore(1, abstract(state_of(1))).step) == 1


@pytest.fixture
def small_disk():
    """A context in which no file of this process grows beyond 100 kB."""

    @contextlib.contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
