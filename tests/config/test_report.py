"""A process tells its progress to whoever asks."""

import io
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from config.progress import Progress
from config.report import HANG_PATH, VARIABLE, Latest, Value, conclude, serve


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def latest() -> Latest:
    return Latest(Clock())


@pytest.fixture
def server(port: int, latest: Latest) -> Iterator[ThreadingHTTPServer]:
    server = serve({VARIABLE: str(port)}, latest)
    assert server
    yield server
    server.shutdown()
    server.server_close()


def ask(port: int, path: str = "/progress") -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def test_what_is_counted_is_told_with_rate_and_shards(server: ThreadingHTTPServer, port: int, latest: Latest) -> None:
    clock = Clock()
    with Progress("image", total=100, initial=20, stream=io.StringIO(), clock=clock, latest=latest) as counter:
        clock.now = 10.0
        counter.add(30, shards=2)
        counter.add(0, loss=3.5)
    said = {"stage": "image", "done": 50, "total": 100, "rate": 3.0, "shards": 2, "save": None, "step": 0.0, "age": 0.0}
    assert ask(port) == (200, said)


def test_where_the_run_is_recorded_is_told_once_it_is_known(latest: Latest) -> None:
    latest.put("image", 1, 10, 0.5, {})
    assert "recorded" not in json.loads(latest.text())
    latest.record("experiments/1/runs/abc")
    latest.put("evaluation", 0, 3, 0.0, {})
    assert json.loads(latest.text())["recorded"] == "experiments/1/runs/abc"


def test_what_a_save_took_is_told_until_the_next_and_does_not_stand_in_the_log() -> None:
    latest, log = Latest(Clock()), io.StringIO()
    with Progress("pretrain", total=10, stream=log, latest=latest) as counter:
        counter.add(2, loss=3.5)
        counter.tell(save_seconds=1.25)
        counter.add(1)
        assert json.loads(latest.text())["save"] == 1.25
        assert json.loads(latest.text())["done"] == 3
    assert "loss=3.5" in log.getvalue()
    assert "save" not in log.getvalue()


def test_before_anything_is_counted_there_is_nothing_to_tell(server: ThreadingHTTPServer, port: int) -> None:
    assert ask(port) == (503, None)
    assert ask(port, "/else")[0] == 404


def test_the_heartbeat_is_the_median_step_and_the_time_since_the_last() -> None:
    """Steps at 0, 100 (the first one compiles), 102, 105 and 106 s: of 100, 2, 3, 1 the median is 2.5."""
    clock = Clock()
    latest = Latest(clock)
    for step, clock.now in enumerate((0.0, 100.0, 102.0, 105.0, 106.0)):
        latest.put("pretrain", step, 10, 1.0, {})
    clock.now = 118.5
    latest.put("pretrain", 4, 10, 1.0, {"loss": 3.0})  # no step
    said = json.loads(latest.text())
    assert (said["step"], said["age"]) == (2.5, 12.5)


def test_a_stage_that_follows_in_the_same_process_has_a_heartbeat_of_its_own() -> None:
    clock = Clock()
    latest = Latest(clock)
    latest.put("features", 0, 10, 1.0, {})
    clock.now = 5.0
    latest.put("features", 1, 10, 1.0, {})
    clock.now = 50.0
    latest.put("probe", 1, 10, 1.0, {})
    said = json.loads(latest.text())
    assert (said["step"], said["age"]) == (None, 0.0)


@pytest.mark.parametrize(("step", "age", "still"), [(1.0, 60.0, False), (1.0, 60.1, True), (100.0, 500.0, False)])
def test_only_a_process_that_has_not_moved_for_long_may_be_told_that_it_hangs(
    step: float, age: float, still: bool
) -> None:
    clock = Clock()
    latest = Latest(clock)
    assert not latest.still(), "nothing was counted yet: it may load a model"
    latest.put("pretrain", 0, 10, 1.0, {})
    clock.now = step
    latest.put("pretrain", 1, 10, 1.0, {})
    clock.now += age
    assert latest.still() == still
    latest.put("pretrain", 2, 10, 1.0, {})
    assert not latest.still()


def test_of_several_processes_of_a_pod_one_answers(server: ThreadingHTTPServer, port: int) -> None:
    assert serve({VARIABLE: str(port)}) is None


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "none"}])
def test_without_a_port_nobody_is_answered(environment: dict[str, str]) -> None:
    assert serve(environment) is None


def test_results_are_left_as_the_termination_message_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    values: list[Value] = [{"name": f"linear_probe/{n}", "metric": "top1" * 15, "value": 81.25} for n in range(60)]
    conclude({VARIABLE: "1"}, values[:2], file)
    told = [["linear_probe/0", "top1" * 15, 81.25], ["linear_probe/1", "top1" * 15, 81.25]]
    assert json.loads(file.read_text()) == {"values": told}
    conclude({VARIABLE: "1"}, values, file)
    assert 4000 < len(file.read_bytes()) <= 4096
    assert json.loads(file.read_text())["values"][:2] == told


def test_results_that_cannot_be_left_fail_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude({VARIABLE: "1"}, [], tmp_path / "nowhere" / "file")
    assert "the results are not in the status of the pod" in capsys.readouterr().err


def test_outside_of_a_pod_nothing_is_left(tmp_path: Path) -> None:
    conclude({}, [], tmp_path / "file")
    assert not list(tmp_path.iterdir())


# Of a pod: argv says how long ago it moved last, and it then waits for ever.
PROCESS = """
import os, sys, time
from config.report import Latest, serve

now = [0.0]
latest = Latest(lambda: now[0])
latest.put("pretrain", 0, 10, 1.0, {})
now[0] = float(sys.argv[1])
print("serves" if serve(os.environ, latest) else "does not", flush=True)


def collective_that_never_ends():
    time.sleep(100)


collective_that_never_ends()
"""


def process(port: int, moved: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(moved)],
        env={**os.environ, VARIABLE: str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def post(port: int, path: str = HANG_PATH) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_pod_that_hangs_writes_all_its_stacks_and_ends_with_76(port: int) -> None:
    first = process(port, 3600.0)
    assert first.stdout
    assert first.stdout.readline() == "serves\n"
    second = process(port, 3600.0)
    assert second.stdout
    assert second.stdout.readline() == "does not\n"
    assert post(port, "/else") == 404
    assert post(port) == 202
    said, others = (one.communicate(timeout=30)[1] for one in (first, second))
    assert (first.returncode, second.returncode) == (76, -9)
    assert "this is where it hangs" in said
    assert "collective_that_never_ends" in said
    assert "collective_that_never_ends" in others, "the process that does not answer writes its stacks, too"


def test_a_pod_that_moves_is_not_ended_whoever_asks(port: int) -> None:
    one = process(port, 1.0)
    try:
        assert one.stdout
        assert one.stdout.readline() == "serves\n"
        assert post(port) == 409
        assert one.poll() is None
    finally:
        one.kill()
        one.communicate()
