"""`torchx` and `kubectl` against the cluster, as a user calls them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.cluster import programs
from tests.cluster.api import Json
from tests.cluster.cluster import ROOT, Cluster, LocalCluster
from tests.servers.s3 import KEY, SECRET

NAMESPACE: Final = "ml"
MLFLOW: Final = "http://reverie-mlflow.ml.svc:5000"
OPTIONS: Final = {
    "namespace": NAMESPACE,
    "queue": "reverie-training",
    "service_account": "reverie-jobs",
    "secrets": "storage",
}
"""Of `torchx run -cfg`, for the release of tests/cluster/conftest.py."""


def torchx(
    cluster: Cluster, *words: str, env: dict[str, str] | None = None, timeout: float = 1800
) -> subprocess.CompletedProcess[str]:
    """`torchx WORDS` with the cluster's kubeconfig."""
    known = {"KUBECONFIG": str(cluster.kubeconfig), "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).parent / "torchx"), *words]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | known | (env or {}), capture_output=True, text=True, timeout=timeout
    )


def run(
    cluster: Cluster,
    component: str,
    *flags: str,
    options: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
) -> str:
    """`torchx run -s kubernetes`; the job's name."""
    cfg = ",".join(f"{key}={value}" for key, value in (OPTIONS | (options or {})).items())
    done = torchx(cluster, "run", "-s", "kubernetes", "-cfg", cfg, f"components/{component}.py", *flags, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition(":")[2]


def kubectl(cluster: Cluster, *words: str, text: str = "") -> str:
    """`kubectl WORDS` in the namespace of the release, with `text` as its input; what it said."""
    command = [str(programs.kubectl()), "--kubeconfig", str(cluster.kubeconfig), "--namespace", NAMESPACE, *words]
    env = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr  # warnings go to the second


def storage_secret(cluster: LocalCluster, name: str = "storage", endpoint: str = "") -> None:
    """How pods reach the S3 server; `endpoint` is in front of it."""
    values = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint or cluster.s3.endpoint,
    }
    secret = {"metadata": {"name": name}, "stringData": values}
    cluster.api.post(f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)


def phase(cluster: Cluster, job: str) -> str:
    """Volcano's word for the state of a job."""
    path = f"/apis/batch.volcano.sh/v1alpha1/namespaces/{NAMESPACE}/jobs/{job}"
    return str(cluster.api.get(path).get("status", {}).get("state", {}).get("phase", ""))


def pods(cluster: Cluster, job: str) -> list[Json]:
    """Those of a job that exist."""
    query = f"labelSelector=volcano.sh%2Fjob-name%3D{job}"
    found: list[Json] = cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?{query}")["items"]
    return found


def words(cluster: LocalCluster, job: str, last: int = 3000) -> str:
    """What the pods of a job said last, for the message of a test that fails."""
    logs: Sequence[Path] = sorted((cluster.agent.folder / "pods" / NAMESPACE).glob(f"{job}-*/*/*.log"))
    return "\n".join(f"== {log.parts[-3]}\n{log.read_text(errors='replace')[-last:]}" for log in logs)
