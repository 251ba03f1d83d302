"""The chart on a real API server: it installs, passes its own test, changes, goes back, and leaves nothing behind."""

import pytest

from tests.cluster.api import ApiError
from tests.cluster.cluster import Cluster
from tests.cluster.release import Release, everything, namespace
from tests.cluster.waiting import eventually
from tests.helm.chart import SCENARIOS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def tenant(made: Cluster) -> tuple[Release, set[tuple[str, str, str]]]:
    """A release with the values of a tenant in somebody else's cluster, and what was there before it."""
    namespace(made.api, "tenant")
    before = everything(made.api)
    release = Release(made, "mine-reverie", "tenant")
    values = ("--set", "mlflow.persistence.keep=false", "--set", "mlflow.workers=1")
    said = release.do("install", *release.chart("restricted-namespace"), *values, "--wait", "--timeout", "5m")
    assert "torchx run" in said, "the notes end with the next command"
    return release, before


def test_its_own_test_passes(tenant: tuple[Release, object]) -> None:
    said = tenant[0].do("test", "--timeout", "3m")
    assert "ok: healthy" in said
    assert "ok: searchable" in said


def test_an_upgrade_changes_and_a_rollback_restores(made: Cluster, tenant: tuple[Release, object]) -> None:
    release = tenant[0]
    path = "/apis/apps/v1/namespaces/tenant/deployments/mine-reverie-mlflow"

    def memory() -> str:
        (container,) = made.api.get(path)["spec"]["template"]["spec"]["containers"]
        return str(container["resources"]["limits"]["memory"])

    before = memory()
    release.do("upgrade", *release.chart("restricted-namespace"), "--reuse-values",
               "--set", "mlflow.resources.limits.memory=3Gi", "--wait", "--timeout", "5m")  # fmt: skip
    assert memory() == "3Gi" != before
    release.do("rollback", "1", "--wait", "--timeout", "5m")
    assert memory() == before
    release.do("test", "--timeout", "3m")


def test_an_uninstallation_leaves_nothing(made: Cluster, tenant: tuple[Release, set[tuple[str, str, str]]]) -> None:
    release, before = tenant
    release.do("uninstall", "--wait", "--timeout", "3m")
    pods = "/api/v1/namespaces/tenant/pods"
    eventually("no pods", lambda: not made.api.get(pods)["items"])
    eventually("what was there before", lambda: everything(made.api) == before)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_api_server_takes_every_object_of_a_scenario(made: Cluster, scenario: str) -> None:
    """And gives them all back; waiting for MLflow is for the tests above."""
    where = f"all-{scenario}"
    namespace(made.api, where)
    before = everything(made.api)
    release = Release(made, f"reverie-{scenario}", where)
    release.do("install", *release.chart(scenario), "--set", "metrics.serviceMonitor.enabled=false")
    assert len(everything(made.api) - before) > 5
    release.do("uninstall", "--wait", "--timeout", "3m")
    left = eventually("nothing of it", lambda: not (everything(made.api) - before - _kept(scenario, where)))
    assert left


def test_a_namespace_that_enforces_refuses_a_pod_that_is_not_hardened(made: Cluster, release: Release) -> None:
    pod = {"metadata": {"name": "loose"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        made.api.post("/api/v1/namespaces/ml/pods", pod)


def _kept(scenario: str, where: str) -> set[tuple[str, str, str]]:
    """A tenant's values keep MLflow's volume."""
    claim = ("PersistentVolumeClaim", where, f"reverie-{scenario}-mlflow")
    return {claim} if scenario == "restricted-namespace" else set()
