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
from tests.cluster.cluster import GPU, ROOT, Cluster
from tests.cluster.launched import NAMESPACE, phase, pods, run, torchx, words
from tests.cluster.waiting import eventually
from tests.integration.test_pipeline import TINY
from tests.servers.s3 import BUCKET

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

STEPS: Final = 12


@pytest.fixture(scope="module")
def root(made: Cluster, storage: None) -> str:
    """Captions and images that are there already, for pretraining, in the bucket."""
    where = str(made.s3.folder / BUCKET / "faults")
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    for stage in ("caption", "image"):
        command = [sys.executable, "-m", f"generator.{stage}", "--recipe", "nano", "--root", where]
        subprocess.run([*command, "--tracking.enabled=false", *_known(stage)], cwd=ROOT, env=env, check=True)
    return f"s3://{BUCKET}/faults"


def _known(stage: str) -> list[str]:
    sections = {"caption": ("--caption.", "--lease."), "image": ("--caption.", "--image.", "--lease.")}
    return [flag for flag in TINY if flag.startswith(sections[stage])]


def pretrain(made: Cluster, root: str, name: str, *flags: str) -> str:
    """A gang that writes a checkpoint at each step."""
    settings = (
        "--batch.captions=4", f"--schedule.steps={STEPS}", "--schedule.warmup_steps=1", "--checkpoint.every_steps=1",
        "--tracking.enabled=false", f"--run={name}",
    )  # fmt: skip
    return run(made, "pretrain", "--root", root, "--threads", "1", *flags, "--", *settings)


def checkpoints(made: Cluster, name: str) -> list[Path]:
    return list((made.s3.folder / BUCKET / "faults" / "checkpoints" / name).glob("step-*/COMMITTED"))


def uids(made: Cluster, job: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods(made, job)}


def complete(made: Cluster, job: str) -> None:
    ends = ("Completed", "Failed", "Aborted", "Terminated")
    eventually("the end of the job", lambda: phase(made, job) in ends, 900)
    assert phase(made, job) == "Completed", words(made, job)


def test_with_too_few_gpus_no_pod_of_a_gang_starts(made: Cluster, root: str) -> None:
    """4 nodes of one GPU are asked for, 3 are there; then a fourth comes."""
    job = pretrain(made, root, "large", "--pool", "l4x1", "--nodes", "4")
    time.sleep(10)
    assert not any("nodeName" in pod["spec"] for pod in pods(made, job))
    assert phase(made, job) == "Pending"
    made.agent.add(Node("gpu-late", {"cpu": "8", "memory": "32Gi", **GPU}, {"reverie.dev/pool": "l4x1"}))
    eventually("four bound pods", lambda: sum("nodeName" in pod["spec"] for pod in pods(made, job)) == 4)
    done = torchx(made, "delete", f"kubernetes://torchx/{NAMESPACE}:{job}")
    assert done.returncode == 0, done.stderr
    eventually("no pods", lambda: not pods(made, job))


def test_a_killed_pod_restarts_its_gang_which_resumes(made: Cluster, root: str) -> None:
    job = pretrain(made, root, "killed", "--nodes", "2")
    eventually("a checkpoint", lambda: checkpoints(made, "killed"), 300)
    before = uids(made, job)
    made.agent.kill_pod(NAMESPACE, f"{job}-pretrain-1")
    eventually("two new pods", lambda: len(before.items() ^ uids(made, job).items()) == 4, 120)
    complete(made, job)
    assert "going on at step" in words(made, job)


def test_a_killed_generation_pod_costs_its_lease_only(made: Cluster, root: str) -> None:
    bucket = made.s3.folder / BUCKET
    shutil.copytree(bucket / "faults" / "captions", bucket / "spot" / "captions")
    settings = (*_known("image"), "--tracking.enabled=false", "--lease.ttl=10")
    job = run(made, "generate", "--root", f"s3://{BUCKET}/spot", "--replicas", "2", "--threads", "1", "--", *settings)
    eventually("a lease", lambda: list((bucket / "spot" / "leases" / "images").glob("*")), 300)
    before = uids(made, job)
    made.agent.kill_pod(NAMESPACE, f"{job}-image-0")
    complete(made, job)
    after = uids(made, job)
    assert after[f"{job}-image-0"] != before[f"{job}-image-0"]
    assert after[f"{job}-image-1"] == before[f"{job}-image-1"], "the other worker goes on"
    report = check(Storage(str(bucket / "spot")), "images")
    assert (report.good, report.samples, report.bad, report.missing) == (3, 12, {}, [])


def test_a_lost_node_costs_a_gang_one_restart_at_most(made: Cluster, root: str) -> None:
    job = pretrain(made, root, "lost", "--nodes", "2")
    eventually("a checkpoint", lambda: checkpoints(made, "lost"), 300)
    (node,) = {pod["spec"]["nodeName"] for pod in pods(made, job) if pod["metadata"]["name"].endswith("-1")}
    made.agent.lose(node)
    complete(made, job)
    assert all(pod["spec"]["nodeName"] != node for pod in pods(made, job))
    made.agent.add(Node(f"{node}-again", {"cpu": "16", "memory": "64Gi"}, {"reverie.dev/pool": "cpu"}))
