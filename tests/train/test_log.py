import json

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from steady_jax.train.log import Log, Means, cut_back


class Clock:
    seconds = 100.0

    def __call__(self):
        return self.seconds


def test_means_are_over_the_steps_that_have_a_number_and_can_go_on_elsewhere():
    means = Means()
    means.add({"loss": 1.0, "reward": 5.0})
    means.add({"loss": 2.0})
    other = Means(json.loads(json.dumps(means.sums)))
    for one in (means, other):
        one.add({"loss": 6.0})
        assert one.take() == {"loss": 3.0, "reward": 5.0}
        assert one.take() == {}


def test_lines_have_times_in_fields_of_their_own(tmp_path):
    clock = Clock()
    with Log(tmp_path / "m.jsonl", tmp_path / "tb", 4, clock) as log:
        clock.seconds += 2
        log.metrics(10, {"loss": 0.5})
        log.held_out(10, {"error": 2.0})
        clock.seconds += 5
        log.metrics(20, {"loss": 0.25})
    assert [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()] == [
        {"step": 10, "loss": 0.5, "seconds": 2.0, "steps_per_second": 3.0},
        {"step": 10, "held_out/error": 2.0},
        {"step": 20, "loss": 0.25, "seconds": 7.0, "steps_per_second": 2.0},
    ]


def test_a_log_is_cut_back_to_a_step_and_goes_on(tmp_path):
    file = tmp_path / "m.jsonl"
    with Log(file, tmp_path / "tb", 0) as log:
        log.held_out(0, {"error": 3.0})
        for step in (2, 4, 6):
            log.metrics(step, {"loss": float(step)})
    whole = file.read_text()
    with file.open("a") as half:
        half.write('{"step": 8, "loss": 1')
    with Log(file, tmp_path / "tb", 4) as log:
        assert log.has_held_out(0)
        assert not log.has_held_out(4)
        assert file.read_text() == "".join(whole.splitlines(keepends=True)[:3])
        log.metrics(6, {"loss": 60.0})
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [0, 2, 4, 6]
    assert not list(tmp_path.glob("*.partial"))


def test_a_whole_log_is_left_as_it_is(tmp_path):
    file = tmp_path / "m.jsonl"
    assert cut_back(file, 3) == []
    assert not file.exists()
    file.write_text('{"step": 1}\n{"step": 3}\n')
    before = file.stat().st_ino
    assert cut_back(file, 3) == [{"step": 1}, {"step": 3}]
    assert file.stat().st_ino == before


def test_tensorboard_gets_the_same_numbers_and_is_told_where_a_restart_begins(tmp_path):
    with Log(tmp_path / "m.jsonl", tmp_path / "tb", 10) as log:
        log.metrics(12, {"loss": 0.5})
        log.held_out(12, {"error": 2.0})
    found = events(next((tmp_path / "tb").iterdir()))
    scalars = {value.tag: (event.step, value.simple_value) for event in found for value in event.summary.value}
    assert scalars["loss"] == (12, 0.5)
    assert scalars["held_out/error"] == (12, 2.0)
    starts = [event.step for event in found if event.session_log.status == SessionLog.SessionStatus.Value("START")]
    assert starts == [11]  # what an earlier process wrote from there on counts no more


def test_a_number_that_json_cannot_hold_is_no_line(tmp_path):
    with Log(tmp_path / "m.jsonl", tmp_path / "tb", 0) as log, pytest.raises(ValueError, match="JSON"):
        log.metrics(1, {"loss": float("nan")})
    assert (tmp_path / "m.jsonl").read_text() == ""


def events(file):
    """The records of a TensorBoard file: length [8 bytes], check sum [4], content, check sum [4]."""
    data, found = file.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return found
