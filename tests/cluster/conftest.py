"""One cluster for all tests of a session, and the chart's release in it where a test asks for one."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.cluster.api import Api
from tests.cluster.chaos import judged
from tests.cluster.cluster import Cluster, LocalCluster, cluster
from tests.cluster.launched import storage_secret
from tests.cluster.release import CONTROLLED, TESTS, Release, install

ELSEWHERE = os.environ.get("REVERIE_TEST_KUBECONFIG", "")
"""A cluster that is there already. `make test-cluster KUBECONFIG=FILE` sets it."""


STAGES = frozenset({"test_nano.py", "test_reverie.py", "test_spares.py"})
"""Tests that run whole stages. All others are as long together."""


class Halves(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Two, each on a worker and a cluster of its own, always in the same order.

    xdist's own `loadgroup` splits groups up under pytest 9.2: it renames tests in a way that has no effect there.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "runs" if PurePath(nodeid.partition("::")[0]).name in STAGES else "others"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Halves:
    """For `pytest -n 2 tests/cluster`."""
    return Halves(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Faults come last: the other tests need not meet what they leave of the cluster."""
    items.sort(key=lambda item: item.path.name == "test_chaos.py")


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A control plane with Volcano, nodes that really run pods, and an S3 server, all of this machine."""
    if ELSEWHERE:
        pytest.skip(
            "kills pods and nodes, or runs this checkout in them: only in a cluster of its own, without KUBECONFIG"
        )
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="session")
def made(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster to test on: that of KUBECONFIG, else this machine's. What tests leave in the former is removed."""
    if not ELSEWHERE:
        yield request.getfixturevalue("local")
        return
    api = Api(Path(ELSEWHERE))
    yield Cluster(Path(ELSEWHERE), api)
    for one in api.get(f"/api/v1/namespaces?labelSelector={TESTS}")["items"]:
        api.delete(f"/api/v1/namespaces/{one['metadata']['name']}")


@pytest.fixture(scope="session")
def release(made: Cluster) -> Iterator[Release]:
    """The chart, installed with the laptop's values into a namespace that enforces `restricted`."""
    release = install(made)
    yield release
    release.do("uninstall", "--wait")


@pytest.fixture(scope="session")
def storage(local: LocalCluster, release: Release) -> None:
    """The secret `storage` in the release's namespace, with which pods reach the S3 server."""
    storage_secret(local)


@pytest.fixture(scope="session")
def controlled(local: LocalCluster, release: Release, storage: None) -> LocalCluster:
    """The release with its controller, and labelled images to judge on."""
    release.do("upgrade", *release.chart("laptop"), *CONTROLLED)
    judged(local)
    return local
