"""The verbs of `torchx` on a job that runs: status, list, log, cancel, delete."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import LocalCluster
from tests.cluster.launched import NAMESPACE, phase, pods, run, torchx, words
from tests.cluster.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def job(local: LocalCluster, storage: None) -> Iterator[str]:
    """Two workers that wait for captions which never come."""
    job = run(local, "generate", "--root", "s3://reverie/waiting", "--replicas", "2", "--", "--tracking.enabled=false")
    eventually("both run", lambda: [pod["status"]["phase"] for pod in pods(local, job)] == ["Running"] * 2)
    yield job
    torchx(local, "delete", f"kubernetes://torchx/{NAMESPACE}:{job}")


def said(local: LocalCluster, verb: str, job: str, *more: str) -> str:
    """What `torchx VERB JOB` prints."""
    done = torchx(local, verb, f"kubernetes://torchx/{NAMESPACE}:{job}{''.join(more)}", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_tells_each_replica(local: LocalCluster, job: str) -> None:
    told = said(local, "status", job)
    assert re.search(r"State:\s*RUNNING", told)
    assert re.findall(r"image\[(\d)\]:RUNNING", told) == ["0", "1"]


def test_list_names_the_jobs_of_the_kubeconfig_s_namespace(local: LocalCluster, job: str, tmp_path: Path) -> None:
    tree = json.loads(local.kubeconfig.read_text())
    tree["contexts"][0]["context"]["namespace"] = NAMESPACE
    (tmp_path / "kubeconfig").write_text(json.dumps(tree))
    done = torchx(local, "list", "-s", "kubernetes", env={"KUBECONFIG": str(tmp_path / "kubeconfig")})
    assert done.returncode == 0, done.stderr
    assert f"{NAMESPACE}:{job}" in done.stdout


def test_log_gives_a_replica_s_lines_with_their_time(local: LocalCluster, job: str) -> None:
    eventually("a line of each worker", lambda: words(local, job).count("images/s") >= 2, 300)
    assert re.search(r"image/1.*\d{4}-\d\d-\d\dT\d\d:\d\d.*images/s", said(local, "log", job, "/image/1"))


def test_cancel_ends_it_and_keeps_it_to_look_at(local: LocalCluster, job: str) -> None:
    said(local, "cancel", job)
    eventually("the job aborted", lambda: phase(local, job) == "Aborted", 120)
    assert re.search(r"State:\s*CANCELLED", said(local, "status", job))
    said(local, "delete", job)
    eventually("no pods", lambda: not pods(local, job))
