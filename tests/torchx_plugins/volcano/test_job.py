"""An app as a Volcano job: pinned to the letter, hardened, of a size that does not grow with the replicas.

After a wanted change: `UPDATE_GOLDEN=1 .venv/bin/pytest tests/torchx_plugins/volcano/test_job.py`.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torchx.specs import AppDef, Resource, RetryPolicy, Role, VolumeMount
from torchx.specs.api import BindMount

from components.errors import LaunchError
from config.yamls import load
from tests.torchx_plugins.volcano.rendering import pods, render, task, text
from tests.torchx_plugins.volcano.restricted import violations
from torchx_plugins.volcano.job import job
from torchx_plugins.volcano.options import Options

GOLDEN = Path(__file__).parent / "golden"
LARGE = ("--root", "s3://bucket/run")
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "pretrain": (("components/pretrain.py",), {}),
    "pretrain-gang": (
        ("components/pretrain.py", "--recipe", "vit_b16", *LARGE, "--nodes", "4", "--nproc_per_node", "8", "--pool",
         "h100x8", "--", "--run", "a $100 run of $(date)"),
        {"queue": "reverie-training", "namespace": "ml", "service_account": "reverie-jobs",
         "priority_class": "reverie-training", "secrets": ["mlflow", "gcs:/var/secrets/gcs"],
         "image_pull_secrets": ["registry"], "labels": {"team": "vision"}},
    ),
    "pretrain-topology": (
        ("components/pretrain.py", *LARGE, "--nodes", "2", "--pool", "a100x8"), {"topology": "hard:2", "retries": 0}
    ),
    "caption-vllm": (
        ("components/caption.py", *LARGE, "--replicas", "2", "--pool", "h100x8", "--", "--caption.engine", "vllm",
         "--caption.vllm.tensor_parallel", "4"), {}
    ),
    "generate": (("components/generate.py", *LARGE, "--replicas", "64", "--pool", "l4x1"), {}),
    "evaluate": (("components/evaluate.py", *LARGE, "--pool", "l4x1"), {}),
    "pipeline": (
        ("components/pipeline.py", *LARGE, "--generators", "3", "--captioners", "2", "--nodes", "2", "--pools",
         "caption=h100x8,image=l4x1,pretrain=h100x8,evaluate=l4x1"), {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_component_renders_what_it_always_rendered(name: str) -> None:
    arguments, options = CASES[name]
    rendered = text(render(*arguments, **options))
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert rendered == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_every_pod_passes_restricted(name: str) -> None:
    for spec in pods(load((GOLDEN / f"{name}.yaml").read_text())):
        assert violations(spec) == []


@pytest.mark.parametrize("name", CASES)
def test_kubernetes_itself_knows_every_field(name: str) -> None:
    """The client's models refuse unknown keys and wrong types; they are made from Kubernetes' own schema."""
    from kubernetes.client import V1PodTemplateSpec

    for one in load((GOLDEN / f"{name}.yaml").read_text())["spec"]["tasks"]:
        V1PodTemplateSpec.model_validate(one["template"])


def test_the_object_does_not_grow_with_the_replicas() -> None:
    """Etcd takes 1.5 MiB; the aim is 100 KB for 1,000 replicas."""
    one, many = (render("components/generate.py", "--replicas", count, "--pool", "l4x1") for count in ("1", "1000"))
    digits = len("1000") - len("1") + len(str(1 + 10 * 1000)) - len(str(1 + 10))  # replicas and maxRetry
    assert len(json.dumps(many)) == len(json.dumps(one)) + digits
    assert len(json.dumps(many)) < 10_000


def test_a_gang_starts_whole_and_workers_start_with_one() -> None:
    rendered = render(*CASES["pipeline"][0])
    least = {one["name"]: (one["replicas"], one["minAvailable"]) for one in rendered["spec"]["tasks"]}
    assert least == {"caption": (2, 1), "image": (3, 1), "pretrain": (2, 2), "evaluate": (1, 1), "render": (1, 1)}
    assert rendered["spec"]["minAvailable"] == 1 + 1 + 2 + 1 + 1


def test_each_worker_and_each_gang_may_fail_so_often() -> None:
    """2 caption and 3 image workers, and pretrain, evaluate and render as a gang each: 8 units, 5 times each."""
    assert render(*CASES["pipeline"][0], retries=5)["spec"]["maxRetry"] == 1 + 5 * 8
    # 1 means never: Volcano reads 0 as its own default, 3.
    assert render("components/pretrain.py", retries=0)["spec"]["maxRetry"] == 1


def test_a_gang_of_several_tasks_restarts_its_task_only() -> None:
    actions = {one["name"]: one["policies"][-1]["action"] for one in render(*CASES["pipeline"][0])["spec"]["tasks"]}
    assert actions["pretrain"] == actions["evaluate"] == "RestartTask"
    assert actions["caption"] == actions["image"] == "RestartPod"


def test_ranks_meet_at_the_first_pod_of_their_own_role() -> None:
    rendered = render(*CASES["pipeline"][0])
    container = task(rendered, "pretrain")["template"]["spec"]["containers"][0]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["TORCHX_RANK0_HOST"] == "pipeline-q1w2-pretrain-0.pipeline-q1w2"
    assert env["REVERIE_REJOIN"] == "1"
    assert "--rdzv-endpoint ${TORCHX_RANK0_HOST:=localhost}:29500" in container["args"][1]


def test_a_pod_gets_its_part_of_a_node() -> None:
    """Half the GPUs of h100x8 come with half of its 88 cores and 1600 GiB; a GPU alone with an eighth."""
    half = pods(render(*CASES["caption-vllm"][0]))[0]["containers"][0]["resources"]
    assert half["limits"]["nvidia.com/gpu"] == "4"
    assert (half["limits"]["cpu"], half["limits"]["memory"]) == ("44", "800Gi")
    assert half["limits"] == half["requests"]


def test_network_devices_come_with_whole_nodes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text(
        "pools:\n  - {name: p5, cpu: 180, memory: 1900, gpu: {count: 8}, devices: {vpc.amazonaws.com/efa: 32}}\n"
    )
    monkeypatch.setenv("REVERIE_POOLS", str(file))
    whole, part = (
        pods(render("components/pretrain.py", "--nproc_per_node", gpus, "--pool", "p5"))[0] for gpus in ("8", "4")
    )
    assert whole["containers"][0]["resources"]["limits"]["vpc.amazonaws.com/efa"] == "32"
    assert "vpc.amazonaws.com/efa" not in part["containers"][0]["resources"]["limits"]


def app(**changes: Any) -> AppDef:
    fields = {"name": "train", "image": "trainer:1", "entrypoint": "python", "resource": Resource(1, 0, 512)}
    return AppDef("mine", [Role(**{**fields, **changes})])


def test_apps_of_others_work_too() -> None:
    """Plain numbers, a claim, a replica's number in an argument, and TorchX's own way to say what is elastic."""
    one = app(
        args=["--rank", "${replica_id}", "--of", "$(HOSTNAME)"],
        num_replicas=4,
        min_replicas=2,
        retry_policy=RetryPolicy.REPLICA,
        mounts=[VolumeMount(src="data", dst_path="/data", read_only=True)],
        port_map={"http": 8000},
        resource=Resource(cpu=2, gpu=1, memMB=4000, devices={"rdma/ib": 1}),
    )
    rendered = task(job(one, Options(), "q1w2"), "train")
    container = rendered["template"]["spec"]["containers"][0]
    assert container["args"] == ["--rank", "$(VC_TASK_INDEX)", "--of", "$$(HOSTNAME)"]
    assert (rendered["minAvailable"], rendered["policies"][-1]["action"]) == (2, "RestartPod")
    assert container["resources"]["limits"] == {
        "cpu": "2000m", "memory": "4000M", "ephemeral-storage": "10Gi", "nvidia.com/gpu": "1", "rdma/ib": "1",
    }  # fmt: skip
    assert violations(rendered["template"]["spec"]) == []


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"num_replicas": 0}, {}, "role train: replicas must be at least 1, got 0"),
        ({"num_replicas": 2, "min_replicas": 3}, {}, "role train: min_replicas must be from 0 to 2, got 3"),
        ({"name": "___"}, {}, "role '___': a name needs 1 to 40 letters"),
        ({"name": "x" * 41}, {}, "a name needs 1 to 40 letters"),
        ({"resource": Resource(0, 0, 512)}, {}, "role train: cpu must be greater than 0, got 0"),
        (
            {"resource": Resource(-1, -1, -1)},
            {"pool": "gpu"},
            "--pool: no pool gpu; did you mean cpu? known: h100x8, a100x8, l4x1, cpu",
        ),
        ({"mounts": [BindMount("/home", "/home")]}, {}, "a BindMount of the node's /home is not allowed"),
        ({"args": ["--hf-token", "abc"]}, {}, "role train: --hf-token holds a credential in plain text"),
        (
            {"entrypoint": "bash", "args": ["-c", "exec python -m x --hf-token abc"]},
            {},
            "role train: --hf-token holds a credential",
        ),
        ({"env": {"DB_PASSWORD": "abc"}}, {}, "role train: the variable DB_PASSWORD holds a credential"),
        ({"env": {"RANK": "${replica_id}"}}, {}, "the variable RANK uses the replica's number; read VC_TASK_INDEX"),
        ({}, {"topology": "near"}, "topology must be soft, hard or hard:TIER with a number, got 'near'"),
        ({"num_replicas": 5000}, {}, "do not fit into one environment variable"),
    ],
)
def test_what_a_cluster_would_refuse_is_refused_at_once(
    changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(LaunchError) as refused:
        job(app(**changes), Options(**options), "q1w2")
    assert message in str(refused.value)
    assert "abc" not in str(refused.value)
