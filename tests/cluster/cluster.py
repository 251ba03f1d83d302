"""A whole cluster on loopback: the control plane, nodes that really run pods, an S3 server, and local environments in
place of images.

    python -m tests.cluster        # `make cluster`: starts one, says how to use it, ends with Ctrl-C

An image is found by its name without registry, tag and digest: `trainer`, `generator` and `controller` run in the
environment that `make venv` makes, `captioner` in that of `make vllm-env`, MLflow's own image in the first.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.agent import Agent, Node, agent
from tests.cluster.api import Api
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.network import network
from tests.cluster.pod import Image
from tests.servers.s3 import S3Server, s3_server

ROOT: Final = Path(__file__).parents[2]
GPU: Final = {"nvidia.com/gpu": "1"}
NODES: Final = (
    *(Node(f"cpu-{n}", {"cpu": "16", "memory": "64Gi"}, {"reverie.dev/pool": "cpu"}) for n in range(3)),
    *(Node(f"gpu-{n}", {"cpu": "8", "memory": "32Gi", **GPU}, {"reverie.dev/pool": "l4x1"}) for n in range(3)),
)
"""What `cluster` announces by default. The resources are for the scheduler: nothing bounds a process by them."""
CLAIMS: Final = 8  # volumes that claims can have, once each


@dataclass(frozen=True)
class Cluster:
    """One that runs, here or elsewhere."""

    kubeconfig: Path
    api: Api


@dataclass(frozen=True)
class LocalCluster(Cluster):
    """One of this machine, whose parts a test can reach into."""

    plane: ControlPlane
    agent: Agent
    s3: S3Server


@contextmanager
def cluster(folder: Path, nodes: Sequence[Node] = NODES) -> Iterator[LocalCluster]:
    """Everything, until the block ends."""
    with ExitStack() as stack:
        net = stack.enter_context(network())
        plane = stack.enter_context(control_plane(folder / "plane", net.host))
        api = Api(plane.kubeconfig)
        for number in range(CLAIMS):
            api.post("/api/v1/persistentvolumes", _volume(number))
        certificate = (plane.folder / "server.pem", plane.folder / "server-key.pem")
        running = stack.enter_context(agent(api, folder, nodes, images(), net, certificate))
        (folder / "s3").mkdir()
        s3 = stack.enter_context(s3_server(folder / "s3", net.host))
        yield LocalCluster(plane.kubeconfig, api, plane, running, s3)


def images() -> dict[str, Image]:
    """Local environments, by the name of the image that they stand in for."""
    ours = _environment(ROOT / ".venv")
    names = ("trainer", "generator", "controller", "mlflow")
    return {**dict.fromkeys(names, ours), "captioner": _environment(ROOT / ".venv-vllm")}


def _environment(folder: Path) -> Image:
    path = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    # Its interpreter and packages may lie in a folder of root's, which containers do not see otherwise.
    python = Path(os.path.realpath(folder / "bin" / "python")).parents[1] if folder.exists() else folder
    shown = tuple(str(one) for one in (ROOT, python) if one.is_relative_to("/root"))
    return Image(path, cwd=str(ROOT), env={"PYTHONDONTWRITEBYTECODE": "1"}, shown=shown)


def _volume(number: int) -> dict[str, object]:
    """One that a claim without a storage class gets. The agent keeps the files of a claim by the claim's name."""
    spec = {
        "capacity": {"storage": "20Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": f"/claims/{number}"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{number}"}, "spec": spec}


def main(folder: Path) -> int:
    """Runs a cluster until Ctrl-C."""
    with cluster(folder) as made:
        print(f"export KUBECONFIG={made.kubeconfig}")
        print(f"# S3 at {made.s3.endpoint}; logs, data and the pods' files in {folder}; Ctrl-C ends it", flush=True)
        try:
            sys.stdin.read()
        except KeyboardInterrupt:
            print("ending")
    return 0
