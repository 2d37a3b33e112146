import dataclasses

import jax
import numpy as np
import pytest
from helpers_torch import TINY

from steady_jax import parallel
from steady_jax.block import BlockSettings
from steady_jax.diffusion.flow_matching import FewSteps
from steady_jax.diffusion.ode import ODE
from steady_jax.memory.steady import Steady
from steady_jax.models.umt5 import UMT5Encoder
from steady_jax.models.wan_dit import WanDiT
from steady_jax.text import ByteTokenizer
from steady_jax.train.compare import Compare, Comparison
from steady_jax.train.encoders import Encoders, Frozen
from steady_jax.train.networks import Network
from steady_jax.train.self_rollout import RolloutSettings

DIT = dataclasses.replace(TINY["dit"], dtype="float32", layers=1)
TEXT = dataclasses.replace(TINY["text_encoder"], dtype="float32", layers=1, vocabulary=ByteTokenizer.vocabulary)


def test_a_report_says_means_and_leads():
    near, far = np.array([0.1, 0.2]), np.array([0.5, 0.4])
    report = Comparison({"near": near, "far": far}, np.zeros(2)).report()
    assert report["near"]["mean"] == pytest.approx(0.15)
    assert report["far minus near"]["mean"] == pytest.approx(0.3)
    low, high = report["far minus near"]["interval"]
    assert 0.2 <= low <= high <= 0.4
    assert report["teacher against itself"]["prompts"] == 2


@pytest.mark.slow
def test_students_are_compared_on_the_same_noise_and_the_teacher_with_itself():
    mesh = parallel.make_mesh({}, jax.local_devices()[:1])
    networks = {
        "teacher": Network(WanDiT, DIT, "dit", seed=1),
        "one": Network(WanDiT, DIT, "dit", seed=2),
        "same": Network(WanDiT, DIT, "dit", seed=2),
        "other": Network(WanDiT, DIT, "dit", seed=3),
        "text_encoder": Network(UMT5Encoder, TEXT, "text_encoder"),
    }
    frozen = Frozen(networks, mesh)
    block = BlockSettings(Steady(window=6, flush=False, scene_flush=False), FewSteps((1000, 500)), frames=3)
    rollout = RolloutSettings(block, blocks=2, counted=2, height=2, width=2)
    students = ["one", "same", "other"]
    compare = Compare(frozen, Encoders(frozen, ByteTokenizer(DIT.text_length)), rollout, ODE(2), students, "")
    said = []
    found = compare(["sea", "fire", "fog", "rain"], each=2, batch=2, say=said.append)
    np.testing.assert_array_equal(found.distances["one"], found.distances["same"])
    assert not np.allclose(found.distances["one"], found.distances["other"])
    assert found.distances["one"].shape == found.teacher_to_itself.shape == (4,)
    assert said == ["sampling the teacher", "sampling one", "sampling same", "sampling other"]
    assert not frozen.is_loaded("text_encoder")
