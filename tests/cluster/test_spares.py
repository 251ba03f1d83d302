"""A gang that loses a node goes on at that of its hot spare, where there is no other; and leaves out a bad one."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.agent import Node
from tests.cluster.api import ApiError, Json
from tests.cluster.chaos import RUNS
from tests.cluster.cluster import GPU, LocalCluster
from tests.cluster.launched import NAMESPACE, phase, words
from tests.cluster.release import CONTROLLED, Release
from tests.cluster.test_reverie import SPEC
from tests.cluster.waiting import eventually
from tests.servers.s3 import BUCKET

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NAME: Final = "spared"
GPUS: Final = ("gpu-0", "gpu-1", "gpu-2")


def spec(steps: int) -> Json:
    """A gang of two and one spare, which take all nodes with a GPU: there are three, with one each."""
    given = SPEC["pretrain"]
    config = {**given["config"], "run": f"of-{steps}", "schedule": {"steps": steps, "warmupSteps": 1}}
    pretrain = {**given, "pool": "l4x1", "spares": 1, "config": config}
    policy = {**SPEC["failurePolicy"], "suspectFailures": 2, "suspectSeconds": 60}
    return {**SPEC, "root": f"s3://{BUCKET}/{NAME}", "pretrain": pretrain, "failurePolicy": policy}


@pytest.fixture(scope="module")
def spared(local: LocalCluster, release: Release, storage: None) -> Iterator[LocalCluster]:
    """A run that is never done in the time of these tests. Nodes that others have added take no part."""
    for one in local.api.get("/api/v1/nodes?labelSelector=reverie.dev%2Fpool%3Dl4x1")["items"]:
        if (name := one["metadata"]["name"]) not in GPUS:
            cordon(local, name)
    release.do("upgrade", *release.chart("laptop"), *CONTROLLED)
    begin(local, steps=5000)
    yield local
    end(local)


def begin(made: LocalCluster, steps: int) -> None:
    kind = {"apiVersion": "reverie.dev/v1alpha1", "kind": "Reverie"}
    made.api.post(RUNS, {**kind, "metadata": {"name": NAME}, "spec": spec(steps)})


def end(made: LocalCluster) -> None:
    made.api.delete(f"{RUNS}/{NAME}")
    eventually("nothing of it", lambda: not there(made), 180)


def there(made: LocalCluster) -> bool:
    try:
        made.api.get(f"{RUNS}/{NAME}")
    except ApiError as error:
        if error.code != 404:
            raise
        return False
    return True


def status(made: LocalCluster) -> dict[str, Any]:
    return dict(made.api.get(f"{RUNS}/{NAME}").get("status", {}))


def stage(made: LocalCluster) -> dict[str, Any]:
    return next((one for one in status(made).get("stages", []) if one["name"] == "pretrain"), {})


def nodes(made: LocalCluster, task: str) -> dict[str, str]:
    """Where the running pods of a task of pretraining are, by name of the pod."""
    selector = f"reverie.dev%2Frun%3D{NAME},volcano.sh%2Ftask-spec%3D{task}"
    found: list[Json] = made.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}")["items"]
    return {
        one["metadata"]["name"]: one["spec"]["nodeName"] for one in found if one["status"].get("phase") == "Running"
    }


def at_work(made: LocalCluster) -> dict[str, str]:
    """Nodes of the gang's pods, by their names; empty unless all of them run."""
    found = nodes(made, "pretrain")
    return found if stage(made).get("state") == "Running" and len(found) == 2 else {}


def cordon(made: LocalCluster, node: str, *, on: bool = True) -> None:
    made.api.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": on}})


def test_a_gang_that_loses_a_node_goes_on_at_that_of_its_spare(spared: LocalCluster) -> None:
    checkpoints = spared.s3.folder / BUCKET / NAME / "checkpoints"
    eventually("a spare that is held", lambda: stage(spared).get("spares") == 1, 900)
    eventually("a checkpoint", lambda: list(checkpoints.glob("*/step-*/COMMITTED")), 600)
    gang, (spare,) = nodes(spared, "pretrain"), nodes(spared, "spare").values()
    assert sorted([*gang.values(), spare]) == list(GPUS)
    first, second = (gang[name] for name in sorted(gang))
    lost = time.monotonic()
    spared.agent.lose(second)
    eventually(
        "the gang on the nodes that are left",
        lambda: sorted(nodes(spared, "pretrain").values()) == sorted([first, spare]),
        300,
    )
    print(f"the gang is whole again {time.monotonic() - lost:.1f} s after the loss of {second}")
    assert nodes(spared, "spare") == {}, "there is no other node"


def test_another_machine_that_comes_is_held_in_its_place(spared: LocalCluster) -> None:
    spared.agent.add(Node("gpu-new", {"cpu": "8", "memory": "32Gi", **GPU}, {"reverie.dev/pool": "l4x1"}))
    eventually("a spare", lambda: list(nodes(spared, "spare").values()) == ["gpu-new"], 300)


def test_a_pod_that_is_drained_gets_the_spare_s_node_and_its_gang_is_not_started_again(spared: LocalCluster) -> None:
    """As `kubectl drain` does: its node takes no more pods, and it is asked to end, saves and is made anew."""
    eventually("the gang at work", lambda: stage(spared).get("state") == "Running", 120)
    attempts, gang = stage(spared)["attempts"], nodes(spared, "pretrain")
    drained = max(gang)
    cordon(spared, gang[drained])
    begin = time.monotonic()
    spared.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{drained}")
    eventually("the pod elsewhere", lambda: nodes(spared, "pretrain").get(drained) == "gpu-new", 300)
    print(f"{drained} runs again {time.monotonic() - begin:.1f} s after it was drained")
    assert stage(spared)["attempts"] == attempts
    cordon(spared, gang[drained], on=False)
    eventually("a spare", lambda: list(nodes(spared, "spare").values()) == [gang[drained]], 300)


def killed_on(made: LocalCluster, node: str) -> list[str]:
    """Kills the gang's pod on a node; the nodes of the next attempt."""
    (pod,) = [pod for pod, where in at_work(made).items() if where == node]
    attempts = stage(made)["attempts"]
    made.agent.kill_pod(NAMESPACE, pod)
    found = eventually("the next attempt", lambda: stage(made)["attempts"] > attempts and at_work(made), 300)
    return sorted(found.values()) if isinstance(found, dict) else []


def test_a_node_on_which_pods_fail_again_is_left_out_for_a_while(spared: LocalCluster) -> None:
    eventually("the gang at work, and its spare", lambda: at_work(spared) and nodes(spared, "spare"), 300)
    (third,) = nodes(spared, "spare").values()
    bad, other = at_work(spared).values()
    cordon(spared, third)  # the next attempt has the same nodes
    assert killed_on(spared, bad) == sorted([bad, other])
    cordon(spared, third, on=False)
    assert killed_on(spared, bad) == sorted([other, third])
    assert stage(spared)["avoids"] == [bad]
    eventually("nobody is suspected any more", lambda: not status(spared).get("suspects"), 120)


def test_the_end_of_the_gang_is_the_end_of_its_spare(spared: LocalCluster) -> None:
    end(spared)
    begin(spared, steps=4)
    eventually("a spare that is held", lambda: stage(spared).get("spares") == 1, 600)
    job = stage(spared)["jobName"]
    eventually("the end", lambda: stage(spared).get("state") in ("Succeeded", "Failed", "Cancelled"), 600)
    assert stage(spared)["state"] == "Succeeded", words(spared, job)
    assert phase(spared, job) == "Completed"
    eventually("no spare", lambda: not nodes(spared, "spare"), 60)
