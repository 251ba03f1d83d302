"""A job of 1,000 pods is one small object, and is made in the time that the cluster needs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import programs
from tests.cluster.cluster import Cluster
from tests.cluster.launched import NAMESPACE, pods, run, torchx
from tests.cluster.release import Release
from tests.cluster.waiting import eventually
from tests.servers.built import module_folder
from tests.servers.running import running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

REPLICAS = 1000
NODES = 10
POOL = """pools:
  - name: simulated
    cpu: 1
    memory: 2
    shm: 1
    scratch: 1
    selector: {reverie.dev/pool: simulated}
"""


@pytest.fixture(scope="module")
def simulated(made: Cluster) -> Iterator[None]:
    """Nodes that only say that their pods run."""
    flags = [f"--kubeconfig={made.plane.kubeconfig}", "--manage-all-nodes=false"]
    flags += ["--manage-nodes-with-label-selector=reverie.dev/pool=simulated", "--server-address=127.0.0.1:0"]
    stages = module_folder(programs.HERE / "kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    for folder in ("node/fast", "node/heartbeat", "pod/fast"):
        flags += [f"--config={file}" for file in sorted((stages / folder).glob("[np]od*.yaml"))]
    with running("kwok", [str(programs.kwok()), *flags], made.plane.folder):
        for number in range(NODES):
            size = {"cpu": "200", "memory": "500Gi", "pods": "110", "ephemeral-storage": "500Gi"}
            labels = {"reverie.dev/pool": "simulated", "kubernetes.io/hostname": f"simulated-{number}"}
            made.api.post("/api/v1/nodes", {"metadata": {"name": f"simulated-{number}", "labels": labels}})
            status = {"status": {"capacity": size, "allocatable": size}}
            made.api.patch(f"/api/v1/nodes/simulated-{number}/status", status)
        yield


def test_a_thousand_replicas(made: Cluster, release: Release, simulated: None, tmp_path: Path) -> None:
    """Prints what it took; `pytest -rP` shows it."""
    (tmp_path / "pools.yaml").write_text(POOL)
    env = {"REVERIE_POOLS": str(tmp_path / "pools.yaml")}
    flags = ("--root", "s3://reverie/large", "--replicas", str(REPLICAS), "--pool", "simulated")
    started = time.monotonic()
    job = run(made, "generate", *flags, env=env)
    path = f"/apis/batch.volcano.sh/v1alpha1/namespaces/{NAMESPACE}/jobs/{job}"

    def phases() -> list[str]:  # of the pods themselves: Volcano's own counts follow minutes later
        return [pod["status"]["phase"] for pod in pods(made, job)]

    eventually("all pods", lambda: len(phases()) == REPLICAS, 300)
    created = time.monotonic() - started
    eventually("all pods run", lambda: phases().count("Running") == REPLICAS, 300)
    all_run = time.monotonic() - started
    found = made.api.get(path)
    found["metadata"].pop("managedFields")
    size = len(json.dumps(found))
    assert size < 100_000

    before = time.monotonic()
    done = torchx(made, "status", f"kubernetes://torchx/{NAMESPACE}:{job}")
    print(
        f"{REPLICAS} replicas: job of {size:,} bytes; from `torchx run` to all pods made {created:.0f} s, "
        f"to all running {all_run:.0f} s; `torchx status` {time.monotonic() - before:.1f} s"
    )
    assert done.returncode == 0, done.stderr
    assert "RUNNING" in done.stdout
    done = torchx(made, "delete", f"kubernetes://torchx/{NAMESPACE}:{job}")
    assert done.returncode == 0, done.stderr
    eventually("no pods", lambda: not pods(made, job), 300)
