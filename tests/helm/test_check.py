"""What the pod of `helm test` says about servers that are well, ill, or absent. Needs no helm."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Final

from tests.helm.chart import CHART
from tests.servers.loopback import Quiet, listening

Answers = Mapping[str, tuple[int, str]]

WELL: Final[Answers] = {
    "/health": (200, "OK"),
    "/api/2.0/mlflow/experiments/search": (200, '{"experiments": []}'),
    "/metrics": (200, "# TYPE mlflow_http_request_total counter"),
}


@contextmanager
def serving(answers: Answers) -> Iterator[str]:
    """The address of a server that answers so."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = answers.get(self.path, (404, "no such page"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            self.do_GET()

    with listening(Handler) as address:
        yield address


def check(uri: str, *names: str, seconds: float = 0.0) -> tuple[int, list[str]]:
    """Exit code and lines of the pod, with so long to try again."""
    command = [sys.executable, "-I", "-c", (CHART / "files" / "check.py").read_text(), *names]
    env = {"MLFLOW_URI": uri, "SECONDS_MAX": str(seconds)}
    done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=seconds + 120)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_server_that_is_well_passes() -> None:
    with serving(WELL) as uri:
        code, lines = check(uri + "/", "healthy", "searchable", "measured")
    assert (code, lines) == (0, [f"ok: {name}: MLflow at {uri}" for name in ("healthy", "searchable", "measured")])


def test_a_host_name_that_mlflow_refuses_is_found_although_it_is_healthy() -> None:
    refusing = {**WELL, "/api/2.0/mlflow/experiments/search": (403, "Invalid Host header")}
    with serving(refusing) as uri:
        code, lines = check(uri, "healthy", "searchable")
    assert code == 1
    assert lines[0].startswith("ok: healthy")
    assert lines[1] == f"FAILED: searchable: MLflow at {uri}: experiments/search: 403 Invalid Host header"


def test_metrics_that_are_missing_are_found() -> None:
    with serving({"/health": (200, "OK")}) as uri:
        code, lines = check(uri, "measured")
    assert (code, lines) == (1, [f"FAILED: measured: MLflow at {uri}: /metrics: 404 no such page"])


def test_a_server_elsewhere_may_ask_for_a_login_but_not_be_broken() -> None:
    for status, code in ((200, 0), (401, 0), (503, 1)):
        with serving({"": (status, ""), "/": (status, "")}) as uri:
            assert check(uri, "reachable")[0] == code, status


def test_nobody_there_is_said_with_what_to_look_at() -> None:
    with serving({}) as uri:
        pass
    code, (line,) = check(uri, "healthy")
    assert code == 1
    assert "Connection refused" in line
    assert "network policy" in line
