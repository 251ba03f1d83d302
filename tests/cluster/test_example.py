"""`kubectl apply -f manifests/examples/nano.yaml` is all that an encoder takes, and kubectl shows how it gets there.

As it stands, with all its captions, images and steps: too long for each change. test_reverie.py runs a smaller one.
"""

import re
import time
from collections.abc import Iterator
from typing import Final

import mlflow
import pytest

from tests.cluster.api import Json
from tests.cluster.chaos import DATABASE, RUNS
from tests.cluster.cluster import ROOT, LocalCluster
from tests.cluster.launched import kubectl
from tests.cluster.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(3600)]

EXAMPLE: Final = ROOT / "manifests" / "examples" / "nano.yaml"
NAME: Final = "nano"


@pytest.fixture(scope="module")
def applied(controlled: LocalCluster) -> Iterator[LocalCluster]:
    assert "created" in kubectl(controlled, "apply", "-f", str(EXAMPLE))
    yield controlled
    assert "deleted" in kubectl(controlled, "delete", "reverie", NAME)


def found(made: LocalCluster) -> Json:
    return made.api.get(f"{RUNS}/{NAME}")


def stage(made: LocalCluster, name: str) -> Json:
    return next((one for one in found(made).get("status", {}).get("stages", []) if one["name"] == name), {})


def test_kubectl_tells_where_it_stands(applied: LocalCluster) -> None:
    eventually("images", lambda: stage(applied, "image").get("done", 0) > 0, 600)
    shown = kubectl(applied, "get", "reveries")
    print(shown)
    head, row = shown.splitlines()
    assert head.split() == ["NAME", "PHASE", "STAGE", "PROGRESS", "IMAGES/S", "ETA", "AGE"]
    assert re.match(r"nano +Running +\S*image\S* +\d+/1024 \(\d+ %\) ", row)
    told = kubectl(applied, "describe", "reverie", NAME)
    assert "StagePending" in told  # its events
    assert stage(applied, "image")["jobName"] in told
    log = kubectl(applied, "logs", "-l", f"reverie.dev/run={NAME},reverie.dev/stage=image", "--tail=-1")
    assert re.search(r"image  \d+/", log)


def test_applied_again_it_changes_nothing(applied: LocalCluster) -> None:
    before = found(applied)
    assert "unchanged" in kubectl(applied, "apply", "-f", str(EXAMPLE))
    after = found(applied)
    assert (after["metadata"]["generation"], after["spec"]) == (before["metadata"]["generation"], before["spec"])


def test_more_painters_come_when_they_are_asked_for(applied: LocalCluster) -> None:
    kubectl(applied, "scale", f"reverie/{NAME}", "--replicas=3")
    selector = f"reverie.dev/run={NAME},reverie.dev/stage=image"
    eventually("three pods", lambda: len(kubectl(applied, "get", "pods", "-l", selector, "-o", "name").split()) == 3)


def test_it_succeeds_with_its_evaluation_in_the_status(applied: LocalCluster) -> None:
    """SynCLR's k-NN is above that of the same network with random weights."""
    began = time.monotonic()
    eventually("the end", lambda: found(applied).get("status", {}).get("phase") in ("Succeeded", "Failed"), 3000, 2)
    status = found(applied)["status"]
    assert status["phase"] == "Succeeded", status["conditions"]
    print(f"the end came {time.monotonic() - began:.0f} s later", *status["evaluations"], sep="\n")
    tops = {(one["name"], one["metric"]): one["value"] for one in status["evaluations"]}
    assert tops["knn/synclr", "colour_top1"] > tops["knn/random_init", "colour_top1"]
    assert {name.partition("/")[0] for name, _ in tops} == {"knn", "linear_probe"}
    page = re.fullmatch(r"http://reverie-mlflow:5000/#/experiments/\d+/runs/(\w+)", status["trackingUrl"])
    assert page
    run = mlflow.MlflowClient(f"sqlite:///{applied.agent.folder / DATABASE}").get_run(page[1])
    assert (run.info.run_name, run.info.status) == ("nano", "FINISHED")
    kubectl(applied, "wait", f"reverie/{NAME}", "--for=condition=Complete", "--timeout=10s")
