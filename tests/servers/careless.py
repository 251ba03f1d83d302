"""Object stores with bad manners: a tiny S3 in memory that ignores create-only writes, or refuses them in few words."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Literal

from tests.servers.loopback import Quiet, listening

Manner = Literal["overwrites", "terse", "busy at first"]
"""`overwrites`: ignores If-None-Match. `terse`: honours it, but its refusal has no <Condition> element, as with several
S3-compatible servers. `busy at first`: honours it, after answering the first three writes with 409."""


@contextmanager
def careless_s3(manner: Manner) -> Iterator[str]:
    """The endpoint of such a server; any bucket exists."""
    with listening(_handler(manner)) as address:
        yield address


def _handler(manner: Manner) -> type[BaseHTTPRequestHandler]:
    objects: dict[str, tuple[bytes, dict[str, str]]] = {}
    busy = [None] * 3 if manner == "busy at first" else []
    lock = threading.Lock()

    class Handler(Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._get(body=False)

        def do_GET(self) -> None:
            self._get(body=True)

        def do_PUT(self) -> None:
            data = self._body()
            with lock:
                if busy:
                    busy.pop()
                    self._answer(409, _error("ConditionalRequestConflict"))
                elif manner != "overwrites" and self.path in objects and self.headers.get("If-None-Match") == "*":
                    self._answer(412, _error("PreconditionFailed"))
                else:
                    marks = {name: text for name, text in self.headers.items() if name.startswith("x-amz-meta-")}
                    objects[self.path] = (data, marks)
                    self._answer(200)

        def do_DELETE(self) -> None:
            objects.pop(self.path, None)
            self._answer(204)

        def _get(self, body: bool) -> None:
            path = self.path.split("?", 1)[0]
            if path.strip("/").count("/") == 0:
                self._answer(200)
            elif path in objects:
                data, marks = objects[path]
                self._answer(200, data, marks, body)
            else:
                self._answer(404, _error("NoSuchKey"), body=body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked" or "aws-chunked" in self.headers.get(
                "Content-Encoding", ""
            ):
                return self._chunks()
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _chunks(self) -> bytes:
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers, an empty line ends them
                pass
            return data

        def _answer(
            self, status: int, data: bytes = b"", more: dict[str, str] | None = None, body: bool = True
        ) -> None:
            self.send_response(status)
            for name, text in {"Last-Modified": formatdate(usegmt=True), "ETag": '"1"', **(more or {})}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    return Handler


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
