import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from steady_jax import parallel, parameters
from steady_jax.models.umt5 import UMT5_SIZES, UMT5Encoder
from steady_jax.models.wan_dit import DIT_SIZES, DiTConfig, WanDiT
from steady_jax.models.wan_vae import VAEConfig, WanVAE

TESTS = Path(__file__).parent
NETWORKS = {
    "dit 1.3b": (WanDiT, DIT_SIZES["1.3b"]),
    "dit 14b": (WanDiT, DIT_SIZES["14b"]),
    "vae": (WanVAE, VAEConfig()),
    "umt5": (UMT5Encoder, UMT5_SIZES["xxl"]),
}
TINY = DiTConfig(width=16, ffn_width=24, heads=2, layers=1, text_width=8, text_length=4, frequency_width=4)


def mesh_of(data=1, fsdp=1, context=1, tensor=1):
    """A mesh without devices."""
    return AbstractMesh((data, fsdp, context, tensor), parallel.AXES, axis_types=(AxisType.Auto,) * 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_matches_one_rule_and_what_is_large_is_cut(name):
    mesh, whole, total = mesh_of(fsdp=8, context=4, tensor=2), 0, 0
    for path, leaf in parameters.named(parameters.abstract(*NETWORKS[name])).items():
        assert len(parallel.rules(path)) == 1, path
        shard = parallel.sharding(path, leaf.shape, mesh).shard_shape(leaf.shape)
        total += leaf.size
        whole += leaf.size if shard == leaf.shape else 0
        assert leaf.size < 2e6 or leaf.size >= 32 * math.prod(shard), path
    assert whole < 0.01 * total


def test_where_the_parameters_of_the_transformer_lie():
    both = ("fsdp", "context")
    found = {
        path: parallel.sharding(path, leaf.shape, mesh_of(2, 4, 2, 2)).spec
        for path, leaf in parameters.named(parameters.abstract(WanDiT, DIT_SIZES["1.3b"])).items()
    }
    assert found["blocks/self_attn/q/kernel"] == found["blocks/ffn/fc1/kernel"] == P(None, both, "tensor")
    assert found["blocks/cross_attn/o/kernel"] == found["blocks/ffn/fc2/kernel"] == P(None, "tensor", both)
    assert found["patch_embed/kernel"] == P(None, None, None, None, both)
    assert found["blocks/self_attn/norm_q"] == P(None, None)


def test_what_does_not_divide_is_cut_over_fewer_axes_or_not_at_all():
    assert parallel.fitted((6, 7), P(("fsdp", "context"), "tensor"), mesh_of(fsdp=2, context=4, tensor=2)) == P(
        "fsdp", None
    )
    assert parallel.fitted((3,), P(("data", "fsdp")), mesh_of(data=2, fsdp=2)) == P(None)


def test_optimiser_states_and_averages_lie_where_their_parameters_do():
    weights = parameters.abstract(WanDiT, TINY)
    state = {"weights": weights, "optimiser": jax.eval_shape(optax.adamw(1e-3).init, weights), "step": jnp.int32(0)}
    found = parameters.named(parallel.shardings(state, mesh_of(fsdp=4)))
    kernel = "blocks/self_attn/q/kernel"
    same = [path for path in found if path.endswith(kernel)]
    assert len(same) == 3
    assert {found[path].spec for path in same} == {P(None, ("fsdp", "context"), "tensor")}
    assert found["step"].spec == P()
    whole = parameters.named(parallel.shardings(state, mesh_of(fsdp=4), cut=False))
    assert {sharding.spec for sharding in whole.values()} == {P()}


def test_an_unknown_parameter_is_refused():
    tree = {"a": {"scales": jnp.ones(3)}, "b": jnp.ones((2, 2)), "step": jnp.ones(())}
    with pytest.raises(ValueError, match=r"2 parameters have no rule .*add one:\n  a/scales\n  b"):
        parallel.shardings(tree, mesh_of())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 2}, "number of devices, 1, got data 2"),
        ({"fsdp": -1, "context": 2}, "number of devices, 1, got fsdp -1, context 2"),
        ({"fsdp": -1, "context": -1}, "one may be -1; got fsdp -1, context -1"),
        ({"model": 1}, "the axes data, fsdp, context, tensor .* got model 1"),
        ({"data": 0}, "got data 0"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        parallel.make_mesh(sizes, jax.devices()[:1])


def test_a_mesh_takes_what_is_left_and_cuts_automatically():
    mesh = parallel.make_mesh({"fsdp": -1}, jax.devices()[:1])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_without_a_mesh_nothing_is_said():
    x = jnp.ones((2, 3))
    assert parallel.constrain(x, "anything") is x
    with jax.set_mesh(parallel.make_mesh({}, jax.devices()[:1])):  # nor for one device
        assert parallel.constrain(x, "anything") is x


def test_a_layout_has_as_many_letters_as_the_array_dimensions():
    with pytest.raises(ValueError, match=r"layout 'b f d' has 3 letters, got an array of shape \(2, 3\)"):
        parallel.activation_sharding((2, 3), "b f d", mesh_of(data=2))


@pytest.mark.parametrize("text", ["", "host:1", "host,0/2", "host:1,2/2", "host:1,-1/2", "host:1,0/2/3"])
def test_what_names_no_place_among_processes_is_refused(text):
    with pytest.raises(ValueError, match=r'say "HOST:PORT,RANK/COUNT"'):
        parallel.join(text)


def test_places_among_processes(monkeypatch):
    joined = []
    monkeypatch.setattr(jax, "distributed", SimpleNamespace(initialize=lambda *a, **k: joined.append((a, k))))
    parallel.join(None)
    parallel.join("10.0.0.1:8476,2/4")
    parallel.join("auto")
    assert joined == [(("10.0.0.1:8476",), {"num_processes": 4, "process_id": 2}), ((), {})]


@pytest.mark.slow
def test_the_transformer_on_a_mesh_is_the_same():
    """Clips in blocks and a rollout, with gradients, cut over items, tokens and heads."""
    report = on_eight_devices({"fsdp": 2, "context": 2, "tensor": -1}, "block-causal", "rollout")
    assert report["pieces"] == {"kernel": [2, 16, 32], "memory": [2, 2, 24, 16], "latents": [2, 6, 4, 6, 16]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [
        {"data": 2, "fsdp": 2, "context": 2},
        {"data": 8},  # more than items
        {"context": 8},  # more than tokens divide by
        {"tensor": 8},  # more than heads
    ],
    ids=str,
)
def test_the_transformer_on_other_meshes_is_the_same(sizes):
    on_eight_devices(sizes, "whole clip", "block-causal", "rollout")


def on_eight_devices(sizes, *programs):
    """In a child process, as the number of devices is fixed once JAX has started."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles sooner
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS))),
    }
    command = [sys.executable, "-m", "check_mesh", json.dumps(sizes), *programs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["devices"] == 8
    assert all(difference < 1e-5 for difference in report["differences"].values()), report
    assert report["parameters"] == 0
    assert "Involuntary full rematerialization" not in done.stderr
    return report
