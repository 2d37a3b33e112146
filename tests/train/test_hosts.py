"""scripts/train.py in two joined processes, and scripts/export.py, which writes the model that they cannot."""

import socket
import sys
import time

import numpy as np
import pytest
from helpers_runs import ROOT, begun, environment, finished, student_of, timeless, training, write_inputs
from helpers_train import arrays

from steady_jax import checkpoint

# eps far above most gradients: an update is proportional to its gradient, where Adam's would be roundings made large
PROPORTIONAL = tuple(
    f"--config.{optimiser}.{setting}=0.01"
    for optimiser in ("optimiser", "critic_optimiser")
    for setting in ("eps", "learning_rate")
)
MESH = ("--config.mesh.data=2", "--config.mesh.fsdp=4", "--config.sample_every=3")
TOGETHER, STEPS = 4, 6


@pytest.mark.slow
def test_two_processes_train_together_and_one_goes_on(tmp_path):
    inputs = write_inputs(tmp_path / "inputs")
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    said = joined(training(inputs, shared, TOGETHER, *PROPORTIONAL, *MESH), environment(tmp_path / "c4", 4), tmp_path)
    assert not (shared / "model").exists()
    assert f"scripts/export.py --workdir={shared} --destination={shared / 'model'}" in said[0]
    assert len(list((shared / "samples" / "3").glob("*.mp4"))) == 4

    export(shared, tmp_path / "exported")
    model = student_of(tmp_path / "exported")
    stored = arrays(shared, TOGETHER)
    for path, array in model.items():
        np.testing.assert_array_equal(array, stored[f"networks/generator/average/{path}"], err_msg=path)
    parts = checkpoint.describe(tmp_path / "exported").parts  # of a whole model
    assert parts["vae"] == checkpoint.describe(inputs / "teacher").parts["vae"]

    settings = environment(tmp_path / "c8", 8)
    said = finished(training(inputs, shared, STEPS, *PROPORTIONAL, *MESH), settings)
    assert f"going on from step {TOGETHER}" in said
    finished(training(inputs, alone, STEPS, *PROPORTIONAL, *MESH), settings)
    for found, expected in zip(timeless(shared), timeless(alone), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    found, expected = arrays(shared, STEPS), arrays(alone, STEPS)
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, atol=1e-5 * min(1, np.abs(array).max()), rtol=1e-4, err_msg=path)


@pytest.mark.slow
def test_sigterm_to_one_process_saves_and_ends_all(tmp_path):
    inputs, workdir = write_inputs(tmp_path / "inputs"), tmp_path / "run"
    settings = environment(tmp_path / "c4", 4)

    def when_training(processes):
        log = workdir / "metrics.jsonl"
        while not (log.exists() and log.stat().st_size) and all(process.poll() is None for process in processes):
            time.sleep(0.1)
        processes[1].terminate()

    command = training(inputs, workdir, 10_000, *MESH, "--config.sample_every=0", "--config.save_every=0")
    said = joined(command, settings, tmp_path, 130, when_training)
    (step,) = (int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    assert f"step {step} is saved" in said[0]
    longer = training(inputs, workdir, step + 1, *MESH, "--config.save_every=0")
    assert f"going on from step {step}" in finished(longer, environment(tmp_path / "c8", 8))


def joined(command, settings, folder, code=0, meanwhile=lambda processes: None):
    """Runs a command as two processes to their ends. Returns what each said.

    Args: code: with which they end; meanwhile: what is done to them.
    """
    outputs = [folder / f"output{rank}" for rank in range(2)]
    address = f"127.0.0.1:{free_port()}"
    processes = [
        begun([*command, f"--config.join={address},{rank}/2"], settings, output) for rank, output in enumerate(outputs)
    ]
    try:
        meanwhile(processes)
        codes = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [output.read_text() for output in outputs]
    assert codes == [code, code], said
    return said


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def export(workdir, destination):
    command = [sys.executable, str(ROOT / "scripts" / "export.py"), f"--workdir={workdir}"]
    finished([*command, f"--destination={destination}"], environment(destination.parent / "c1"))
