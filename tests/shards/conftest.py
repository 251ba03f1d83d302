"""The storages that the tests run on: each contract test runs on every kind."""

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shards import Storage
from tests.servers.s3 import S3Server, s3_server

_COUNT = itertools.count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the session; each test takes a root of its own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(
    params=["file", "memory", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(900)])],
)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty root of each kind."""
    if request.param == "file":
        return Storage(str(tmp_path / "root"))
    if request.param == "memory":
        return Storage(f"memory://{uuid.uuid4().hex}")
    server: S3Server = request.getfixturevalue("s3")
    return Storage(server.root(f"run-{next(_COUNT)}"), server.options)


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    """An empty root in a local folder."""
    return Storage(str(tmp_path / "root"))
