"""One `Reverie` resource goes from concepts to an evaluated encoder on the cluster, whatever fails on the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from nano import results
from shards import Storage, check
from tests.cluster import chaos
from tests.cluster.api import MERGE, ApiError, Json
from tests.cluster.chaos import CONTROLLER, LEASE, RUNS
from tests.cluster.cluster import LocalCluster
from tests.cluster.launched import NAMESPACE
from tests.cluster.release import CONTROLLED, Release
from tests.cluster.waiting import eventually
from tests.servers.s3 import BUCKET

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NAME: Final = "whole"
SPEC: Final[Json] = {
    **chaos.SPEC,
    "root": f"s3://{BUCKET}/{NAME}",
    "secrets": ["storage"],
    "caption": {"threads": 1, "config": {"count": 12, "perUnit": 4}},
    "image": {"threads": 1, "replicas": 2, "config": {"steps": 2, "batch": 8, "perCaption": 4}},
    "pretrain": {
        **chaos.SPEC["pretrain"],
        "config": {
            "schedule": {"steps": 40, "warmupSteps": 1},
            "batch": {"captions": 4},
            "checkpoint": {"everySteps": 1},
        },
    },
    "failurePolicy": {"backoffSeconds": 1, "hangSeconds": 60},
    "graceSeconds": 10,
}


@pytest.fixture(scope="module")
def whole(controlled: LocalCluster) -> Iterator[LocalCluster]:
    kind = {"apiVersion": "reverie.dev/v1alpha1", "kind": "Reverie"}
    controlled.api.post(RUNS, {**kind, "metadata": {"name": NAME}, "spec": SPEC})
    yield controlled
    gone(controlled)


def status(made: LocalCluster) -> Json:
    found: Json = made.api.get(f"{RUNS}/{NAME}").get("status", {})
    return found


def stage(made: LocalCluster, name: str) -> dict[str, Any]:
    return next((one for one in status(made).get("stages", []) if one["name"] == name), {})


def pods(made: LocalCluster, name: str = "") -> list[Json]:
    """Those of the run's jobs that have not ended, or of one stage's."""
    selector = f"reverie.dev%2Frun%3D{NAME}" + (f",reverie.dev%2Fstage%3D{name}" if name else "")
    found = made.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}")["items"]
    return [one for one in found if one["status"].get("phase") not in ("Succeeded", "Failed")]


def leader(made: LocalCluster) -> str:
    return str(made.api.get(LEASE)["spec"].get("holderIdentity", ""))


def gone(made: LocalCluster) -> None:
    try:
        made.api.delete(f"{RUNS}/{NAME}")
    except ApiError as error:
        if error.code != 404:
            raise


def test_suspended_while_it_paints_it_frees_everything_and_goes_on(whole: LocalCluster) -> None:
    eventually("painters", lambda: stage(whole, "image").get("state") == "Running", 300)
    whole.api.patch(f"{RUNS}/{NAME}", {"spec": {"suspend": True}}, MERGE)
    eventually("no pods", lambda: not pods(whole), 120)
    eventually("it says so", lambda: status(whole)["phase"] == "Suspended", 30)
    whole.api.patch(f"{RUNS}/{NAME}", {"spec": {"suspend": False}}, MERGE)
    eventually("pods", lambda: pods(whole), 120)


def test_an_upgrade_of_the_chart_replaces_the_controller_and_nothing_that_runs(
    whole: LocalCluster, release: Release
) -> None:
    def uids(selector: str) -> set[str]:
        found = whole.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}")["items"]
        return {one["metadata"]["uid"] for one in found}

    eventually("something runs", lambda: pods(whole), 120)
    ours, controllers = uids(f"reverie.dev%2Frun%3D{NAME}"), uids(CONTROLLER)
    attempts = {one["name"]: one["attempts"] for one in status(whole)["stages"] if one.get("attempts")}
    release.do("upgrade", *release.chart("laptop"), *CONTROLLED, "--set", "controller.workers=2")
    eventually("new controllers", lambda: not controllers & uids(CONTROLLER), 60)
    assert ours <= uids(f"reverie.dev%2Frun%3D{NAME}")
    now = {one["name"]: one.get("attempts") for one in status(whole)["stages"]}
    assert attempts.items() <= now.items()


def test_another_controller_takes_over_and_restarts_a_gang_that_was_killed(whole: LocalCluster) -> None:
    checkpoints = whole.s3.folder / BUCKET / NAME / "checkpoints"
    eventually("a checkpoint", lambda: list(checkpoints.glob("*/step-*/COMMITTED")), 600)
    led = leader(whole)
    (holder,) = [
        one
        for one in whole.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        if led.startswith(one["metadata"]["name"])
    ]
    whole.agent.kill_pod(NAMESPACE, holder["metadata"]["name"])
    whole.agent.kill_pod(NAMESPACE, pods(whole, "pretrain")[0]["metadata"]["name"])
    eventually("another leader", lambda: leader(whole) not in ("", led), 120)
    eventually("a second attempt", lambda: stage(whole, "pretrain").get("attempts", 0) == 2, 180)
    assert sum(one["count"] for one in status(whole)["restarts"]) == 1


def test_a_gang_of_which_one_pod_stands_still_says_where_it_hangs_and_starts_again(whole: LocalCluster) -> None:
    checkpoints = whole.s3.folder / BUCKET / NAME / "checkpoints"
    before = set(checkpoints.glob("*/step-*/COMMITTED"))
    eventually("steps of the second attempt", lambda: set(checkpoints.glob("*/step-*/COMMITTED")) - before, 300)
    (frozen,) = [one["metadata"]["name"] for one in pods(whole, "pretrain") if one["metadata"]["name"].endswith("-1")]
    with whole.agent.frozen(NAMESPACE, frozen):
        eventually("a third attempt", lambda: stage(whole, "pretrain").get("attempts", 0) == 3, 300)
    assert {one["cause"]: one["count"] for one in status(whole)["restarts"]}["hang"] == 1
    assert "no progress for" in stage(whole, "pretrain")["lastError"]["message"]
    assert "this is where it hangs" in said(whole, "pretrain")


def test_it_ends_with_an_evaluated_encoder(whole: LocalCluster) -> None:
    eventually("the end", lambda: status(whole).get("phase") in ("Succeeded", "Failed"), 900)
    assert status(whole)["phase"] == "Succeeded", status(whole)["conditions"]
    root = whole.s3.folder / BUCKET / NAME
    for kind in ("captions", "images"):
        report = check(Storage(str(root)), kind)
        assert (report.good, report.samples, report.bad, report.missing) == (3, 12, {}, [])
    assert results.read(root)
    assert stage(whole, "pretrain")["attempts"] == 3
    assert "going on at step" in said(whole, "pretrain")


def said(made: LocalCluster, name: str) -> str:
    """By all pods of a stage, of all its attempts."""
    logs: list[Path] = sorted((made.agent.folder / "pods" / NAMESPACE).glob(f"*{NAME}*{name}*/*/*.log"))
    return "".join(log.read_text(errors="replace") for log in logs)


def test_deleted_it_leaves_no_job_and_no_pod(whole: LocalCluster) -> None:
    gone(whole)
    selector = f"labelSelector=reverie.dev%2Frun%3D{NAME}"

    def left() -> list[Json]:
        jobs = whole.api.get(f"/apis/batch.volcano.sh/v1alpha1/namespaces/{NAMESPACE}/jobs?{selector}")["items"]
        return [*jobs, *whole.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?{selector}")["items"]]

    eventually("nothing of it", lambda: not left(), 120)
