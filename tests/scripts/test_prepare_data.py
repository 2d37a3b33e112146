"""scripts/prepare_data.py as a person runs it: here on local files, and under `slow` in its own environment."""

import contextlib
import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers_data import numbers, write_clip

from steady_jax.data.records import Shards, text_of

ROOT = Path(__file__).parents[2]
TFIO_VARIABLE = "STEADY_JAX_TFIO_PYTHON"
SIZE = ("--frames=9", "--height=16", "--width=16")


def prepare(*arguments, python=sys.executable):
    command = [python, str(ROOT / "scripts" / "prepare_data.py"), *arguments]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=settings, capture_output=True, text=True)


@pytest.fixture
def clips(tmp_path):
    """A folder with two clips and what names them."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        write_clip(folder / f"{name}.mp4", 12, caption=f"This is {name}.")
    (folder / "list.tsv").write_text("b.mp4\tB\na.mp4\tA\n")
    (folder / "prompts.txt").write_text("Rain\nSmoke\n")
    return folder


def prompts_of(folder):
    return [text_of(record["prompt"]) for record in Shards(folder)]


def test_local_clips_need_no_tensorflow(clips, tmp_path):
    ran = prepare(f"--clips={clips}", *SIZE, f"--destination={tmp_path}/shards", "--records_per_shard=1")
    assert ran.returncode == 0, ran.stderr
    assert prompts_of(tmp_path / "shards") == ["This is a.", "This is b."]
    assert numbers(Shards(tmp_path / "shards")[0]["pixels"]) == list(range(9))
    assert ran.stdout.endswith("holds 2 records in 2 shards\n")


def test_mistakes_are_one_line(clips, tmp_path):
    for arguments, message in (
        ((f"--clips={clips}", f"--prompts={clips}/prompts.txt"), "got prompts and clips"),
        ((f"--clips={clips}",), "clips need --frames, --height and --width"),
        ((f"--prompts={clips}/prompts.txt", *SIZE), "are for clips"),
        ((f"--prompts={clips}/nowhere.txt",), "nowhere.txt"),
        (("--prompts=s3://bucket/prompts.txt",), "s3://bucket/prompts.txt is read by tensorflow-io, which is not"),
    ):
        ran = prepare(*arguments, f"--destination={tmp_path}/shards")
        assert ran.returncode != 0
        assert message in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
    assert not (tmp_path / "shards").exists()


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files, and ranges of bytes of them as real servers do."""

    def do_GET(self):
        file = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not file.is_file() or not file.stat().st_size:
            super().do_GET()
            return
        content, first, last = file.read_bytes(), int(asked[1]), int(asked[2])
        part = content[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder, handler):
    """Serves a folder on loopback; gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def tfio():
    """The python of the environment of requirements-tfio.txt."""
    if TFIO_VARIABLE not in os.environ:
        pytest.skip(f"{TFIO_VARIABLE} is unset: no python of an environment made of requirements-tfio.txt")
    return os.environ[TFIO_VARIABLE]


@pytest.mark.slow
def test_tensorflow_io_reads_local_files_and_http(tfio, clips, tmp_path):
    (clips / "large.mp4").write_bytes((clips / "a.mp4").read_bytes() + bytes(3_000_000))  # padding, which players skip
    (clips / "list.tsv").write_text("b.mp4\tB\nlarge.mp4\tA\n")
    (clips / "large.txt").write_text("Large.")
    shards = f"--destination={tmp_path}"
    with serving(clips, Ranges) as address:
        for arguments, expected in (
            ((f"--prompts={address}/prompts.txt", f"{shards}/1"), ["Rain", "Smoke"]),
            ((f"--manifest={address}/list.tsv", f"{shards}/2", *SIZE), ["B", "A"]),
            ((f"--clips=file://{clips}", f"{shards}/3", *SIZE), ["This is a.", "This is b.", "Large."]),
            ((f"--clips={clips}", f"{shards}/4", *SIZE), ["This is a.", "This is b.", "Large."]),
        ):
            ran = prepare(*arguments, python=tfio)
            assert ran.returncode == 0, ran.stderr
            folder = arguments[1].partition("=")[2]
            assert prompts_of(folder) == expected
        assert all(numbers(record["pixels"]) == list(range(9)) for record in Shards(tmp_path / "2"))


@pytest.mark.slow
def test_what_tensorflow_io_cannot_read_is_one_line(tfio, clips, tmp_path):
    (clips / "large.mp4").write_bytes(bytes(3_000_000))
    (clips / "list.tsv").write_text("large.mp4")
    with serving(clips, http.server.SimpleHTTPRequestHandler) as address:
        for arguments, message in (
            ((f"--prompts={address}/nowhere.txt",), "nowhere.txt cannot be read"),
            ((f"--manifest={address}/list.tsv", *SIZE), "must answer requests for ranges of bytes"),
            ((f"--clips={address}/", *SIZE), "http lists no folders"),
            (("--prompts=file:///nowhere/prompts.txt",), "file:///nowhere/prompts.txt cannot be read"),
            (("--prompts=ftp://host/prompts.txt",), "TensorFlow knows s3, gs, hdfs, az, http and https"),
        ):
            ran = prepare(*arguments, f"--destination={tmp_path}/shards", python=tfio)
            assert ran.returncode != 0
            assert message in ran.stderr
            assert "Traceback" not in ran.stderr
