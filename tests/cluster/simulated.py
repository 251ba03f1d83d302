"""Nodes that only say that their pods run, simulated by kwok."""

import ipaddress
import math
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster import programs
from tests.cluster.control_plane import ControlPlane
from tests.servers.built import module_folder
from tests.servers.running import running

POOL: Final = """pools:
  - name: simulated
    cpu: 1
    memory: 2
    shm: 1
    scratch: 1
    selector: {reverie.dev/pool: simulated}
"""
"""For REVERIE_POOLS."""
RUN: Final = ("node/fast/node-initialize", "node/heartbeat/node-heartbeat", "pod/fast/pod-ready", "pod/fast/pod-delete")
"""Stages of kwok with which pods run until they are deleted."""
COMPLETE: Final = (*RUN, "pod/fast/pod-complete")
"""Stages with which a pod succeeds as soon as it runs."""
_ADDRESSES: Final = "10.96.0.1/12"  # of pods


def make_nodes(plane: ControlPlane, pods: int, per_node: int = 110) -> int:
    """As many nodes as so many pods need; their number."""
    api, nodes = plane.api(), math.ceil(pods / per_node)
    for number in range(nodes):
        size = {"cpu": "600", "memory": "2000Gi", "pods": str(per_node), "ephemeral-storage": "2000Gi"}
        labels = {"reverie.dev/pool": "simulated", "kubernetes.io/hostname": f"simulated-{number}"}
        api.post("/api/v1/nodes", {"metadata": {"name": f"simulated-{number}", "labels": labels}})
        api.patch(f"/api/v1/nodes/simulated-{number}/status", {"status": {"capacity": size, "allocatable": size}})
    return nodes


def remove_nodes(plane: ControlPlane) -> None:
    """All of them: without kwok, a pod that the scheduler sends there never runs."""
    api = plane.api()
    for node in api.get("/api/v1/nodes?labelSelector=reverie.dev%2Fpool%3Dsimulated")["items"]:
        api.delete(f"/api/v1/nodes/{node['metadata']['name']}")


@contextmanager
def kwok(plane: ControlPlane, stages: tuple[str, ...] = RUN) -> Iterator[None]:
    """What plays those nodes and their pods, until the block ends."""
    folder = module_folder(programs.HERE / "kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    command = [
        str(programs.kwok()),
        f"--kubeconfig={plane.kubeconfig}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-label-selector=reverie.dev/pool=simulated",
        "--server-address=127.0.0.1:0",
        f"--cidr={_ADDRESSES}",
        *(f"--config={folder / stage}.yaml" for stage in stages),
    ]
    with running("kwok", command, plane.folder):
        yield


@contextmanager
def here() -> Iterator[None]:
    """The addresses of those pods lead to this machine, so that a test says what is heard there. Needs root.

    kwok could give addresses of the loopback, but Kubernetes takes none of those for a service's.
    """
    network = str(ipaddress.ip_network(_ADDRESSES, strict=False))
    route = ["local", network, "dev", "lo"]
    subprocess.run(["ip", "route", "add", *route], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", *route], check=True)


def write_pool(folder: Path) -> Path:
    """The file of node pools that names them."""
    file = folder / "pools.yaml"
    file.write_text(POOL)
    return file
