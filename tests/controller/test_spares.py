"""Hot spares are held while a gang works, and make room when it loses a node.

After a wanted change of the object: `UPDATE_GOLDEN=1 .venv/bin/pytest tests/controller/test_spares.py`.
"""

import os
from pathlib import Path
from typing import Any, Final

import pytest

from config.yamls import load
from controller.actions import Action, ScaleJob, Wait
from controller.api import Json
from controller.progress import Pods, addresses
from controller.render import STAGE, Owner, render
from controller.resolve import resolve
from controller.rules import frozen
from tests.controller.objects import parsed
from tests.controller.simulated import Simulated, created, failed
from tests.torchx_plugins.volcano.rendering import text
from tests.torchx_plugins.volcano.restricted import violations

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "spares.yaml"
SPEC: Final[dict[str, Any]] = {
    "pool": "a100x8",
    "secrets": ["storage", "gcs:/var/secrets/gcs"],
    "pretrain": {"nodes": 2, "processesPerNode": 8, "spares": 1},
}


def tasks(changes: dict[str, Any], avoids: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    spec = parsed(changes)
    made: list[dict[str, Any]] = render(Owner("nano", "ml", "u-1"), "pretrain", 2, spec, resolve(spec), avoids)["spec"][
        "tasks"
    ]
    return made


def test_the_task_of_the_spares_is_what_it_always_was() -> None:
    made = text(tasks(SPEC, ("node-3",))[1])
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def test_a_spare_takes_the_room_of_one_of_the_gang_on_the_same_nodes_and_holds_no_secret() -> None:
    gang, spare = (one["template"]["spec"] for one in tasks(SPEC, ("node-3",)))
    for key in ("nodeSelector", "tolerations", "affinity", "securityContext"):
        assert spare[key] == gang[key]
    assert spare["containers"][0]["resources"] == gang["containers"][0]["resources"]
    assert spare["containers"][0]["image"] == gang["containers"][0]["image"]
    assert "secret" not in str(spare)
    assert violations(spare) == []


def test_the_gang_itself_is_the_same_but_that_its_end_is_that_of_the_job() -> None:
    (alone,) = tasks({**SPEC, "pretrain": {"nodes": 2, "processesPerNode": 8}})
    gang, _ = tasks(SPEC)
    *policies, last = gang["policies"]
    assert last == {"event": "TaskCompleted", "action": "CompleteJob"}
    assert {**gang, "policies": policies} == alone


def test_kubernetes_itself_knows_every_field() -> None:
    from kubernetes.client import V1PodTemplateSpec

    V1PodTemplateSpec.model_validate(load(GOLDEN.read_text())["template"])


def test_nobody_asks_a_spare_how_far_it_is() -> None:
    """Its labels are those of its stage, but for the task, which Volcano puts on."""

    def pod(task: str, address: str) -> Json:
        labels = tasks(SPEC)[0]["template"]["metadata"]["labels"]
        assert labels[STAGE] == "pretrain"
        labels = {**labels, "volcano.sh/task-spec": task}
        return {"metadata": {"labels": labels}, "status": {"phase": "Running", "podIP": address}}

    asked = addresses([pod("pretrain", "10.0.0.1"), pod("spare", "10.0.0.2")])
    assert asked == {"pretrain": Pods(2, ["10.0.0.1"])}


def pretraining(spares: int = 1) -> Simulated:
    """A gang of two whose job was made."""
    run = Simulated(
        {"evaluate.data": "s3://bucket/labelled", "pretrain.nodes": 2, "pretrain.spares": spares, "pool": "l4x1"}
    )
    run.reconcile()
    run.run_to("caption", "image")
    assert run.stage("pretrain").state == "Pending"
    return run


def scaled(actions: tuple[Action, ...]) -> list[int]:
    """How many spares are asked for."""
    return [one.replicas for one in actions if isinstance(one, ScaleJob) and one.task == 1]


def test_the_gang_comes_first_and_its_spares_when_all_of_it_runs() -> None:
    run = pretraining(spares=2)
    assert run.job("pretrain").spares == 0
    run.set("pretrain", "Pending", waiting=2)
    assert scaled(run.reconcile()) == []
    run.set("pretrain", "Running", running=1)
    assert scaled(run.reconcile()) == [], "the other one still pulls its image"
    run.set("pretrain", "Running", running=2)
    assert scaled(run.reconcile()) == [2]
    assert scaled(run.reconcile(60)) == []


@pytest.mark.parametrize(("spares", "wanted"), [(0, []), (1, [0]), (2, [0])])
def test_a_pod_of_the_gang_that_waits_for_a_node_gets_that_of_a_spare_at_once(spares: int, wanted: list[int]) -> None:
    """A node was lost; Volcano has made its pod anew, and the others wait for it."""
    run = pretraining(spares)
    run.set("pretrain", "Running", running=2)
    run.reconcile()
    run.set("pretrain", "Running", running=1, waiting=1)
    assert scaled(run.reconcile()) == wanted
    assert run.stage("pretrain").attempts == 1, "nothing is started again"
    run.set("pretrain", "Running", running=1)
    assert scaled(run.reconcile(5)) == [], "it has a node, and does not run yet"
    run.set("pretrain", "Running", running=2)
    assert scaled(run.reconcile(5)) == ([spares] if spares else []), "another machine may come now, in its own time"


def test_when_no_pod_of_the_gang_is_left_its_spares_go_and_the_job_can_be_completed() -> None:
    """Volcano ends the job when the task is done; but an event is heard once, and it may have been away."""
    run = pretraining()
    run.set("pretrain", "Running", running=2)
    run.reconcile()
    run.set("pretrain", "Running", running=0)
    assert scaled(run.reconcile()) == [0]
    assert scaled(run.reconcile(60)) == []


@pytest.mark.parametrize(("spares", "wait"), [(0, 10.0), (1, 1.0)])
def test_a_gang_that_failed_for_want_of_a_node_starts_again_without_a_wait_if_there_is_a_spare(
    spares: int, wait: float
) -> None:
    run = pretraining(spares)
    run.set("pretrain", "Running", running=2)
    run.reconcile()
    run.set("pretrain", "Failed", failed(None))
    assert Wait(wait) in run.reconcile()
    assert created(run.reconcile(wait)) == ["pretrain"]
    assert run.job("pretrain").spares == (0 if spares else None), "its nodes are the gang's to take"
    assert [(one.cause, one.count) for one in run.status.restarts] == [("node", 1)], "it counts all the same"


def test_what_another_node_does_not_mend_waits_in_spite_of_a_spare() -> None:
    run = pretraining()
    run.set("pretrain", "Running", running=2)
    run.reconcile()
    run.set("pretrain", "Failed", failed(1))
    assert Wait(10.0) in run.reconcile()


def test_the_status_says_how_many_spares_are_held() -> None:
    run = pretraining(spares=2)
    run.set("pretrain", "Running", running=2)
    run.reconcile()
    assert run.stage("pretrain").spares == 0
    run.set("pretrain", "Running", running=2)
    run.reconcile()
    assert run.stage("pretrain").spares == 2
    run.edit(suspend=True)
    run.reconcile()
    assert run.stage("pretrain").spares == 0


def test_spares_are_fixed_at_the_start_as_the_nodes_are() -> None:
    assert "pretrain" in frozen()
