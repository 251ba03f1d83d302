"""The control plane is a real one: it validates, schedules gangs, enforces Pod Security and collects garbage."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.api import Api, ApiError
from tests.cluster.control_plane import control_plane
from tests.cluster.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]  # the first run builds everything

JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/default/jobs"
GROUPS = "/apis/scheduling.volcano.sh/v1beta1/namespaces/default/podgroups"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane.api()


def job(name: str, replicas: int, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "command": ["true"], "resources": {"requests": {"cpu": "1"}}}
    tasks = [{"name": "worker", "replicas": replicas, "template": {"spec": {"containers": [container]}}}]
    return {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"schedulerName": "volcano", "minAvailable": replicas, "tasks": tasks, **spec},
    }


def pods(api: Api, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(
        f"/api/v1/namespaces/default/pods?labelSelector=volcano.sh%2Fjob-name%3D{job}"
    )["items"]
    return found


def add_node(api: Api, name: str, cpus: int) -> None:
    """A node that says it is ready; nobody runs its pods."""
    size = {"cpu": str(cpus), "memory": "8Gi", "pods": "50"}
    api.post("/api/v1/nodes", {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
    ready = {"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": "2100-01-01T00:00:00Z"}
    status = {"capacity": size, "allocatable": size, "conditions": [ready]}
    api.patch(f"/api/v1/nodes/{name}/status", {"status": status})


def test_volcano_s_admission_refuses_a_job_that_cannot_be(api: Api) -> None:
    with pytest.raises(ApiError, match="minAvailable"):
        api.post(JOBS, job("impossible", 2, minAvailable=3))


def test_a_gang_starts_whole_or_not_at_all(api: Api) -> None:
    """Two pods of one CPU: none is even made while there is one CPU, and both are bound when there are two."""

    def bound() -> int:
        return sum("nodeName" in pod["spec"] for pod in pods(api, "gang"))

    add_node(api, "one", 1)
    api.post(JOBS, job("gang", 2))
    time.sleep(5)
    assert bound() == 0
    add_node(api, "two", 1)
    eventually("both bound", lambda: bound() == 2)


def test_what_belongs_to_a_deleted_job_is_collected(api: Api) -> None:
    def groups() -> int:
        return sum(group["metadata"]["name"].startswith("short") for group in api.get(GROUPS)["items"])

    api.post(JOBS, job("short", 1))
    eventually("its group", lambda: groups() == 1)
    api.delete(f"{JOBS}/short")
    eventually("no group", lambda: groups() == 0)
    eventually("no pods", lambda: not pods(api, "short"))


def test_pod_security_is_enforced(api: Api) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.post("/api/v1/namespaces", {"metadata": {"name": "strict", "labels": labels}})
    eventually("its account", lambda: api.get("/api/v1/namespaces/strict/serviceaccounts")["items"])
    pod = {"metadata": {"name": "loose"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api.post("/api/v1/namespaces/strict/pods", pod)
