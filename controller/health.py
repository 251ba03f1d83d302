"""What probes and Prometheus ask: /healthz, /readyz, /metrics."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(
    address: str, port: int, ready: Callable[[], bool], healthy: Callable[[], bool], metrics: Callable[[], str]
) -> Iterator[int]:
    """Answers until the block ends; gives the port.

    Args:
        address: to listen at.
        port: the same; 0 takes a free one.
        ready: whether it could lead: everything was listed. One that does not lead is ready too.
        healthy: whether it should be left running.
        metrics: in Prometheus' text format.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._answer(*_verdict(healthy()))
                case "/readyz":
                    self._answer(*_verdict(ready()))
                case "/metrics":
                    self._answer(200, metrics())
                case _:
                    self._answer(404, "not found\n")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a line for each probe would hide the others."""

    with ThreadingHTTPServer((address, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="health")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _verdict(good: bool) -> tuple[int, str]:
    return (200, "ok\n") if good else (503, "not yet\n")
