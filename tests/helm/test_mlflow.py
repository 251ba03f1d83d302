"""The real MLflow, started as the chart starts it: it answers to its names in the cluster, and to no others."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helm.chart import one_of, render
from tests.helm.test_check import check
from tests.servers.running import free_port

pytestmark = pytest.mark.helm


@contextmanager
def started(values: str, folder: Path) -> Iterator[int]:
    """The port of a server with the container's command, arguments and environment; its volumes are folders below."""
    (container,) = one_of(render(values), "Deployment", "-mlflow")["spec"]["template"]["spec"]["containers"]
    port = free_port()
    for mount in container["volumeMounts"]:
        (folder / mount["name"]).mkdir()

    def moved(text: str) -> str:
        text = re.sub(r"/(data|tmp)\b", lambda volume: str(folder / volume[1]), text)
        return text.replace("--port=5000", f"--port={port}").replace("--host=0.0.0.0", "--host=127.0.0.1")

    command = [str(Path(sys.executable).parent / container["command"][0]), *container["command"][1:]]
    env = {one["name"]: moved(one["value"]) for one in container["env"]}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = subprocess.Popen(
        [*command, *(moved(argument) for argument in container["args"])],
        env={**env, "PATH": path, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def status(port: int, host: str) -> int:
    """What the API answers to a request under a host name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = json.dumps({"max_results": 1})
        headers = {"Host": host, "Content-Type": "application/json"}
        connection.request("POST", "/api/2.0/mlflow/experiments/search", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.timeout(600)
def test_it_starts_answers_to_its_names_and_writes_to_its_volumes_only(tmp_path: Path) -> None:
    values = "mlflow: {workers: 1, allowedHosts: [mlflow.example.com]}"
    with started(values, tmp_path) as port:
        code, lines = check(f"http://127.0.0.1:{port}", "healthy", "searchable", seconds=240)
        assert code == 0, lines
        names = ("reverie-mlflow", "reverie-mlflow.reverie.svc", "reverie-mlflow.reverie.svc.cluster.local")
        for name in (*names, "mlflow.example.com"):
            assert status(port, f"{name}:5000") == 200, name
            assert status(port, name) == 200, name
        assert status(port, "attacker.example.com") == 403
        assert status(port, "reverie-mlflow.reverie.svc.attacker.example.com:5000") == 403
    assert {file.name for file in tmp_path.iterdir()} == {"data", "tmp"}
    assert (tmp_path / "data" / "mlflow.db").is_file()
