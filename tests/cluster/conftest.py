"""One cluster for all tests of a session, and the chart's release in it where a test asks for one."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, cluster
from tests.cluster.launched import storage_secret
from tests.cluster.release import Release, namespace


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane with Volcano, nodes that really run pods, and an S3 server."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="session")
def release(made: Cluster) -> Iterator[Release]:
    """The chart, installed with the laptop's values into a namespace that enforces `restricted`."""
    namespace(made.api, "ml")
    release = Release(made, "reverie", "ml")
    release.do("install", *release.chart("laptop"), "--wait", "--timeout", "5m")
    yield release
    release.do("uninstall", "--wait")


@pytest.fixture(scope="session")
def storage(made: Cluster, release: Release) -> None:
    """The secret `storage` in the release's namespace, with which pods reach the S3 server."""
    storage_secret(made)
