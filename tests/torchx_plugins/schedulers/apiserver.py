"""A small HTTP server with the paths of an API server that the scheduler uses. It keeps what it was asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.loopback import Quiet, listening
from tests.torchx_plugins.volcano.objects import pod, vcjob

JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/ml/jobs"


class ApiServer:
    """One job, `ml:app-1`, with `replicas` pods. `calls` are (method, path), `bodies` what was sent."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.refusal: tuple[int, str] | None = None

    def answer(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Status and body."""
        if self.refusal:
            return self.refusal[0], {"kind": "Status", "message": self.refusal[1]}
        match method, path:
            case "GET", "/api/v1/namespaces/ml/pods":
                start = int(query.get("continue", ["0"])[0])
                end = min(start + int(query["limit"][0]), self.replicas)
                more = {"continue": str(end)} if end < self.replicas else {}
                return 200, {"metadata": more, "items": [pod(k) for k in range(start, end)]}
            case "GET", "/api/v1/namespaces/ml/pods/app-1-pretrain-7/log":
                return 200, f"12:00 started\n12:01 {query['container'][0]} step 1\n12:02 done"
            case "GET", path if path == JOBS:
                return 200, {"metadata": {}, "items": [vcjob()]}
            case "GET" | "DELETE", path if path == f"{JOBS}/app-1":
                return 200, vcjob(replicas=self.replicas)
            case "POST", _:
                return 201, self.bodies[-1]
        return 404, {"kind": "Status", "message": f'jobs.batch.volcano.sh "{path}" not found'}


@contextmanager
def running(server: ApiServer) -> Iterator[str]:
    """Serves on loopback; gives the address."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            at = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            if length:
                server.bodies.append(json.loads(self.rfile.read(length)))
            server.calls.append((self.command, at.path))
            status, body = server.answer(self.command, at.path, parse_qs(at.query))
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _any  # noqa: N815 - the names that http.server calls

    with listening(Handler) as address:
        yield address
