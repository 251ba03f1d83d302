"""What happens to jobs when there is too little room, when pods are killed and when nodes are lost."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from shards import Storage, check
from tests.cluster.agent import Node
from tests.cluster.cluster import GPU, ROOT, LocalCluster
from tests.cluster.launched import NAMESPACE, phase, pods, run, torchx, words
from tests.cluster.waiting import eventually
from tests.integration.test_pipeline import TINY
from tests.servers.s3 import BUCKET

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

STEPS: Final = 12


@pytest.fixture(scope="module")
def root(local: LocalCluster, storage: None) -> str:
    """Captions and images that are there already, for pretraining, in the bucket."""
    where = str(local.s3.folder / BUCKET / "faults")
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    for stage in ("caption", "image"):
        command = [sys.executable, "-m", f"generator.{stage}", "--recipe", "nano", "--root", where]
        subprocess.run([*command, "--tracking.enabled=false", *_known(stage)], cwd=ROOT, env=env, check=True)
    return f"s3://{BUCKET}/faults"


def _known(stage: str) -> list[str]:
    sections = {"caption": ("--caption.", "--lease."), "image": ("--caption.", "--image.", "--lease.")}
    return [flag for flag in TINY if flag.startswith(sections[stage])]


def pretrain(local: LocalCluster, root: str, name: str, *flags: str) -> str:
    """A gang that writes a checkpoint at each step."""
    settings = (
        "--batch.captions=4", f"--schedule.steps={STEPS}", "--schedule.warmup_steps=1", "--checkpoint.every_steps=1",
        "--tracking.enabled=false", f"--run={name}",
    )  # fmt: skip
    return run(local, "pretrain", "--root", root, "--threads", "1", *flags, "--", *settings)


def checkpoints(local: LocalCluster, name: str) -> list[Path]:
    return list((local.s3.folder / BUCKET / "faults" / "checkpoints" / name).glob("step-*/COMMITTED"))


def uids(local: LocalCluster, job: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods(local, job)}


def complete(local: LocalCluster, job: str) -> None:
    ends = ("Completed", "Failed", "Aborted", "Terminated")
    eventually("the end of the job", lambda: phase(local, job) in ends, 900)
    assert phase(local, job) == "Completed", words(local, job)


def test_with_too_few_gpus_no_pod_of_a_gang_starts(local: LocalCluster, root: str) -> None:
    """4 nodes of one GPU are asked for, 3 are there; then a fourth comes."""
    job = pretrain(local, root, "large", "--pool", "l4x1", "--nodes", "4")
    time.sleep(10)
    assert not any("nodeName" in pod["spec"] for pod in pods(local, job))
    assert phase(local, job) == "Pending"
    local.agent.add(Node("gpu-late", {"cpu": "8", "memory": "32Gi", **GPU}, {"reverie.dev/pool": "l4x1"}))
    eventually("four bound pods", lambda: sum("nodeName" in pod["spec"] for pod in pods(local, job)) == 4)
    done = torchx(local, "delete", f"kubernetes://torchx/{NAMESPACE}:{job}")
    assert done.returncode == 0, done.stderr
    eventually("no pods", lambda: not pods(local, job))


def test_a_killed_pod_restarts_its_gang_which_resumes(local: LocalCluster, root: str) -> None:
    job = pretrain(local, root, "killed", "--nodes", "2")
    eventually("a checkpoint", lambda: checkpoints(local, "killed"), 300)
    before = uids(local, job)
    local.agent.kill_pod(NAMESPACE, f"{job}-pretrain-1")
    eventually("two new pods", lambda: len(before.items() ^ uids(local, job).items()) == 4, 120)
    complete(local, job)
    assert "going on at step" in words(local, job)


def test_a_killed_generation_pod_costs_its_lease_only(local: LocalCluster, root: str) -> None:
    bucket = local.s3.folder / BUCKET
    shutil.copytree(bucket / "faults" / "captions", bucket / "spot" / "captions")
    settings = (*_known("image"), "--tracking.enabled=false", "--lease.ttl=10")
    job = run(local, "generate", "--root", f"s3://{BUCKET}/spot", "--replicas", "2", "--threads", "1", "--", *settings)
    eventually("two workers", lambda: [pod["status"]["phase"] for pod in pods(local, job)] == ["Running"] * 2, 300)
    eventually("a lease", lambda: list((bucket / "spot" / "leases" / "images").glob("*")), 300)
    before = uids(local, job)
    local.agent.kill_pod(NAMESPACE, f"{job}-image-0")
    complete(local, job)
    after = uids(local, job)
    assert after[f"{job}-image-0"] != before[f"{job}-image-0"]
    assert after[f"{job}-image-1"] == before[f"{job}-image-1"], f"the other worker goes on: {words(local, job)}"
    report = check(Storage(str(bucket / "spot")), "images")
    assert (report.good, report.samples, report.bad, report.missing) == (3, 12, {}, [])


def test_a_lost_node_costs_a_gang_one_restart_at_most(local: LocalCluster, root: str) -> None:
    job = pretrain(local, root, "lost", "--nodes", "2")
    eventually("a checkpoint", lambda: checkpoints(local, "lost"), 300)
    (node,) = {pod["spec"]["nodeName"] for pod in pods(local, job) if pod["metadata"]["name"].endswith("-1")}
    local.agent.lose(node)
    complete(local, job)
    assert all(pod["spec"]["nodeName"] != node for pod in pods(local, job))
    local.agent.add(Node(f"{node}-again", {"cpu": "16", "memory": "64Gi"}, {"reverie.dev/pool": "cpu"}))
