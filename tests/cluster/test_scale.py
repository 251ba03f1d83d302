"""A job of 1,000 pods is one small object, and is made in the time that the cluster needs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import simulated
from tests.cluster.cluster import LocalCluster
from tests.cluster.launched import NAMESPACE, pods, run, torchx
from tests.cluster.release import Release
from tests.cluster.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

REPLICAS = 1000


@pytest.fixture(scope="module")
def nodes(local: LocalCluster) -> Iterator[None]:
    """That only say that their pods run."""
    with simulated.kwok(local.plane):
        simulated.make_nodes(local.plane, REPLICAS)
        yield
        simulated.remove_nodes(local.plane)


def test_a_thousand_replicas(local: LocalCluster, release: Release, nodes: None, tmp_path: Path) -> None:
    """Prints what it took; `pytest -rP` shows it."""
    env = {"REVERIE_POOLS": str(simulated.write_pool(tmp_path))}
    flags = ("--root", "s3://reverie/large", "--replicas", str(REPLICAS), "--pool", "simulated")
    started = time.monotonic()
    job = run(local, "generate", *flags, env=env)
    path = f"/apis/batch.volcano.sh/v1alpha1/namespaces/{NAMESPACE}/jobs/{job}"

    def phases() -> list[str]:  # of the pods themselves: Volcano's own counts follow minutes later
        return [pod["status"]["phase"] for pod in pods(local, job)]

    eventually("all pods", lambda: len(phases()) == REPLICAS, 300, every=1)
    created = time.monotonic() - started
    eventually("all pods run", lambda: phases().count("Running") == REPLICAS, 300, every=1)
    all_run = time.monotonic() - started
    found = local.api.get(path)
    found["metadata"].pop("managedFields")
    size = len(json.dumps(found))
    assert size < 100_000

    before = time.monotonic()
    done = torchx(local, "status", f"kubernetes://torchx/{NAMESPACE}:{job}")
    print(
        f"{REPLICAS} replicas: job of {size:,} bytes; from `torchx run` to all pods made {created:.0f} s, "
        f"to all running {all_run:.0f} s; `torchx status` {time.monotonic() - before:.1f} s"
    )
    assert done.returncode == 0, done.stderr
    assert "RUNNING" in done.stdout
    done = torchx(local, "delete", f"kubernetes://torchx/{NAMESPACE}:{job}")
    assert done.returncode == 0, done.stderr
    eventually("no pods", lambda: not pods(local, job), 300, every=1)
