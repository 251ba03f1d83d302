"""A stage's job is that of `torchx run -s kubernetes`, but for name, labels, owner and the port of its progress."""

import copy
import json
import re
from typing import Any

import pytest

from config.section import Section
from controller.render import ATTEMPT, RUN, STAGE, Owner, job_name, render
from controller.resolve import Resolved, flags, resolve
from controller.status import StageName
from tests.components.launching import appdef
from tests.controller.objects import parsed
from tests.torchx_plugins.volcano.restricted import violations
from torchx_plugins.volcano.job import job
from torchx_plugins.volcano.options import Options

OWNER = Owner("nano", "ml", "9b2f-1")
CHANGES: dict[str, Any] = {
    "secrets": ["storage"],
    "serviceAccount": "reverie-jobs",
    "queue": "training",
    "priorityClass": "reverie-training",
    "pool": "l4x1",
    "pretrain": {"nodes": 2, "pool": "a100x8", "processesPerNode": 8, "config": {"schedule": {"steps": 100}}},
    "image": {"replicas": 3, "image": "generator:1", "threads": 2},
}


def resolved(changes: dict[str, Any]) -> Resolved:
    return resolve(parsed(changes))


def command(stage: StageName, made: Resolved) -> tuple[str, ...]:
    """What one would type after `torchx run -s kubernetes`."""

    def base(recipe: str) -> tuple[str, ...]:
        return ("--recipe", recipe, "--root", "s3://bucket/nano", "--image", made.images[stage])

    def after(config: Section) -> tuple[str, ...]:
        return ("--", *flags(config))

    return {
        "caption": ("components/caption.py", *base("nano"), "--pool", "l4x1", *after(made.generate)),
        "image": (
            "components/generate.py", *base("nano"), "--pool", "l4x1", "--replicas", "3", "--threads", "2",
            *after(made.generate),
        ),
        "render": (
            "components/render.py:render", "--root", "s3://bucket/nano", "--image", made.images["render"],
            "--pool", "l4x1",
        ),
        "pretrain": (
            "components/pretrain.py", *base("nano"), "--pool", "a100x8", "--nodes", "2", "--nproc_per_node", "8",
            *after(made.pretrain),
        ),
        "evaluate": ("components/evaluate.py", *base("nano"), "--pool", "l4x1", *after(made.evaluate)),
    }[stage]  # fmt: skip


@pytest.mark.parametrize("stage", ["caption", "image", "render", "pretrain", "evaluate"])
def test_it_is_what_torchx_run_would_submit(stage: StageName) -> None:
    made = resolved(CHANGES)
    ours = render(OWNER, stage, 1, parsed(CHANGES), made)
    options = Options(
        namespace="ml",
        queue="training",
        pool="l4x1",
        service_account="reverie-jobs",
        secrets=["storage"],
        priority_class="reverie-training",
        retries=5 if stage in ("caption", "image") else 0,
    )
    theirs = job(appdef(*command(stage, made)), options, "q1w2")
    name = theirs["metadata"]["name"]
    assert without_ours(ours) == renamed(theirs, name, ours["metadata"]["name"])


def without_ours(made: dict[str, Any]) -> dict[str, Any]:
    """Without owner, our labels, and what the name of the app is put into."""
    made = copy.deepcopy(made)
    del made["metadata"]["ownerReferences"]
    for labels in label_sets(made):
        for key in (RUN, STAGE, ATTEMPT):
            del labels[key]
    for task in made["spec"]["tasks"]:
        (container,) = task["template"]["spec"]["containers"]
        container["env"] = [one for one in container["env"] if one["name"] != "REVERIE_PROGRESS_PORT"]
    return unnamed(made)


def renamed(made: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return unnamed(json.loads(json.dumps(made).replace(old, new)))


def unnamed(made: dict[str, Any]) -> dict[str, Any]:
    for labels in label_sets(made):
        labels.pop("app.kubernetes.io/name")
        labels.pop("torchx.pytorch.org/app-name", None)
    return made


def label_sets(made: dict[str, Any]) -> list[dict[str, str]]:
    return [made["metadata"]["labels"], *(one["template"]["metadata"]["labels"] for one in made["spec"]["tasks"])]


def test_a_job_belongs_to_its_resource_and_says_so() -> None:
    made = render(OWNER, "image", 3, parsed(), resolved({}))
    assert made["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "reverie.dev/v1alpha1", "kind": "Reverie", "name": "nano", "uid": "9b2f-1",
            "controller": True, "blockOwnerDeletion": True,
        }
    ]  # fmt: skip
    for labels in label_sets(made):
        assert labels.items() >= {RUN: "nano", STAGE: "image", ATTEMPT: "3"}.items()


@pytest.mark.parametrize(
    ("stage", "says"), [("caption", True), ("image", True), ("pretrain", True), ("render", False), ("evaluate", True)]
)
def test_pods_of_stages_that_have_something_to_tell_tell_it(stage: StageName, says: bool) -> None:
    (task,) = render(OWNER, stage, 1, parsed(), resolved({}))["spec"]["tasks"]
    (container,) = task["template"]["spec"]["containers"]
    assert ({"name": "REVERIE_PROGRESS_PORT", "value": "9465"} in container["env"]) == says


def test_a_name_depends_on_resource_stage_and_attempt_alone() -> None:
    longest = Owner("a" * 30, "ml", "9b2f-1")
    few = render(longest, "image", 1, parsed({"image.replicas": 1}), resolved({}))
    many = render(longest, "image", 1, parsed({"image.replicas": 9000 // 10}), resolved({}))
    assert few["metadata"]["name"] == many["metadata"]["name"] == job_name(longest, "image", 1)
    names = {
        job_name(owner, stage, attempt)
        for owner in (OWNER, Owner("nano", "ml", "another uid"))
        for stage in ("caption", "image")
        for attempt in (1, 2)
    }
    assert len(names) == 8
    assert all(re.fullmatch(r"[a-z][-a-z0-9]{0,62}", name) for name in names)


def test_restarts_of_a_gang_are_the_controller_s_and_of_a_worker_volcano_s() -> None:
    made = resolved({})
    assert render(OWNER, "pretrain", 1, parsed(), made)["spec"]["maxRetry"] == 1
    assert render(OWNER, "image", 1, parsed({"image.replicas": 4}), made)["spec"]["maxRetry"] == 1 + 5 * 4


@pytest.mark.parametrize("stage", ["caption", "image", "render", "pretrain", "evaluate"])
def test_every_pod_passes_pod_security_restricted(stage: StageName) -> None:
    made = render(OWNER, stage, 1, parsed(CHANGES), resolved(CHANGES))
    assert [violations(task["template"]["spec"]) for task in made["spec"]["tasks"]] == [[]]


def test_nodes_to_avoid_are_left_out_beside_what_the_pods_prefer() -> None:
    """Golden: the whole difference to a job that avoids none."""
    changes = {"pool": "a100x8", "pretrain": {"nodes": 2, "processesPerNode": 8}}
    anywhere = render(OWNER, "pretrain", 2, parsed(changes), resolved(changes))
    made = render(OWNER, "pretrain", 2, parsed(changes), resolved(changes), ("node-3", "node-7"))
    (task,) = made["spec"]["tasks"]
    affinity = task["template"]["spec"]["affinity"]
    assert affinity.pop("nodeAffinity") == {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchFields": [
                        {"key": "metadata.name", "operator": "NotIn", "values": ["node-3"]},
                        {"key": "metadata.name", "operator": "NotIn", "values": ["node-7"]},
                    ]
                }
            ]
        }
    }
    if not affinity:
        del task["template"]["spec"]["affinity"]
    assert made == anywhere


def test_the_image_of_a_stage_is_that_of_the_start() -> None:
    made = resolved({})
    kept = made.model_copy(update={"images": {**made.images, "pretrain": "trainer:of-then"}})
    job = render(OWNER, "pretrain", 2, parsed(), kept)
    assert job["spec"]["tasks"][0]["template"]["spec"]["containers"][0]["image"] == "trainer:of-then"
