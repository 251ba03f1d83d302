"""The agent of the tests ends what it starts."""

import time
from typing import Any

import pytest

from tests.cluster.cluster import LocalCluster
from tests.cluster.sandbox import Sandbox
from tests.cluster.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]  # the first run builds everything

PODS = "/api/v1/namespaces/default/pods"


def test_a_pod_that_is_deleted_while_its_process_starts_ends(
    local: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Sandbox.start

    def deleted_meanwhile(self: Sandbox, *given: Any) -> Any:
        process = start(self, *given)
        local.api.delete(f"{PODS}/brief", gracePeriodSeconds=1)
        time.sleep(2)  # until the agent has heard of it
        return process

    def there() -> bool:
        return any(pod["metadata"]["name"] == "brief" for pod in local.api.get(PODS)["items"])

    monkeypatch.setattr(Sandbox, "start", deleted_meanwhile)
    container = {"name": "main", "image": "trainer", "command": ["sleep", "600"]}
    node = local.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    local.api.post(PODS, {"metadata": {"name": "brief"}, "spec": {"nodeName": node, "containers": [container]}})
    eventually("no pod", lambda: not there(), 60)
