"""Many `Reverie` resources at once, and what that costs the controller: a process of its own with the chart's rights,
on a real control plane whose nodes kwok simulates, with Volcano or without.

    N resources ──▶ 15 pods each run ──nothing happens for a while──▶ pods complete ──▶ 5 more each ──▶ Succeeded

What is measured is the controller's: its metrics, and what the kernel says of its process.
"""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from controller.render import PROGRESS_PORT
from tests.cluster import rights, simulated
from tests.cluster.cluster import ROOT
from tests.cluster.control_plane import ControlPlane
from tests.cluster.stand_in import stand_in
from tests.cluster.test_controller import COMMANDS, JOBS, known, volcano_types
from tests.cluster.test_crd import CRDS, install
from tests.cluster.waiting import eventually
from tests.controller.objects import reverie
from tests.servers.running import Program, free_port, running

STAGES: Final = {"caption": 14, "image": 2, "render": 1, "pretrain": 2, "evaluate": 1}
"""Pods of each resource, by stage."""
PODS: Final = sum(STAGES.values())
AT_ONCE: Final = STAGES["caption"] + STAGES["render"]
"""Of these, those of the stages that start with the run."""
SPEC: Final = {
    "pool": "simulated",
    "caption.replicas": STAGES["caption"],
    "image.replicas": STAGES["image"],
    "pretrain.nodes": STAGES["pretrain"],
}
FLAGS: Final = {
    # Volcano's own period. Its answer to each change within 200 ms costs a small cluster nothing, and this one a core.
    "volcano-scheduler": ("--schedule-period=1s",),
    # Volcano's 50 requests a second would need seven minutes for 20,000 pods, whatever the controller does.
    "volcano-controller-manager": ("--kube-api-qps=2000", "--kube-api-burst=2000", "--worker-threads=10"),
    # So that pods that ended stay, and the controller has all of them before it.
    # And a busy machine loses no node.
    "kube-controller-manager": ("--terminated-pod-gc-threshold=100000", "--node-monitor-grace-period=1h"),
}
"""Of the control plane, for `control_plane`."""


_SETTLES: Final = 5.0  # seconds


@dataclass(frozen=True)
class Snapshot:
    """The controller at some moment."""

    time: float
    """Of the machine's clock, seconds."""
    cpu: float
    """Seconds so far."""
    memory: float
    """Resident set, MiB."""
    peak: float
    """The largest so far."""
    metrics: dict[str, float]
    pods: int = 0
    """There were in the cluster, those that have ended included."""

    def total(self, name: str) -> float:
        """A metric, summed over its labels."""
        return sum(value for key, value in self.metrics.items() if key == name or key.startswith(f"{name}{{"))

    def total_of(self, name: str, label: str) -> float:
        """A metric, summed over those with a label."""
        return sum(value for key, value in self.metrics.items() if key.startswith(f"{name}{{") and label in key)

    def calls(self) -> float:
        """Requests to the API server."""
        return self.total("reverie_api_requests_total")

    def quantile(self, name: str, share: float) -> float:
        """Of a histogram, as Prometheus takes it: evenly between the bounds of a bucket. Seconds."""
        found = re.compile(rf'{name}_bucket{{le="([^"]+)"}}')
        bounds = [(float(match[1]), value) for key, value in self.metrics.items() if (match := found.fullmatch(key))]
        wanted, before = share * self.metrics[f"{name}_count"], (0.0, 0.0)
        for bound, count in bounds:
            if count >= wanted and count > before[1]:
                if bound == float("inf"):
                    return before[0]
                return before[0] + (bound - before[0]) * (wanted - before[1]) / (count - before[1])
            before = (bound, count)
        raise ValueError(f"{name} has counted nothing")


@dataclass(frozen=True)
class Measured:
    """What a load took."""

    reveries: int
    started: Snapshot
    """Nothing was asked of it yet."""
    all_run: Snapshot
    """All pods of the first stages run."""
    settled: Snapshot
    """And what that entailed is written."""
    quiet: Snapshot
    """Nothing has happened since."""
    over: Snapshot
    """All resources have succeeded."""

    @property
    def pods(self) -> int:
        """In all."""
        return PODS * self.reveries

    @property
    def calls(self) -> float:
        """Requests to the API server, without those for the lease, which depend on the time alone."""
        return self.over.calls() - self.over.total_of("reverie_api_requests_total", 'resource="leases"')

    @property
    def calls_per_pod(self) -> float:
        return self.calls / self.pods

    @property
    def cpu_per_pod(self) -> float:
        """Seconds, from when it leads."""
        return (self.over.cpu - self.started.cpu) / self.pods

    @property
    def memory_per_reverie(self) -> float:
        """MiB, by the largest that it had."""
        return (self.over.peak - self.started.memory) / self.reveries


def install_types(plane: ControlPlane, *, volcano: bool) -> None:
    """The Reverie type, and without Volcano that of its jobs."""
    api = plane.api()
    install(api)
    if not volcano:
        for one in volcano_types():
            api.post(CRDS, one)
        eventually("Volcano's types", lambda: known(api, JOBS) and known(api, COMMANDS))


class Controller:
    """The process. `python -m controller`, with the rights of the chart's service account and no others."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self._port = program, port

    def snapshot(self, pods: int = 0) -> Snapshot:
        """Its costs so far."""
        pid = self.program.process.pid
        status = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
        memory, peak = (int(status[name]) / 1024 for name in ("VmRSS", "VmHWM"))
        return Snapshot(time.monotonic(), cpu_seconds(pid), memory, peak, self._metrics(), pods)

    def leads(self) -> bool:
        """Whether it serves."""
        try:
            return self._metrics()["reverie_leader"] == 1
        except OSError:
            assert self.program.process.poll() is None, self.program.fail("ended")
            return False

    def _metrics(self) -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def cpu_seconds(pid: int) -> float:
    """That a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def controller(plane: ControlPlane, namespace: str, folder: Path) -> Iterator[Controller]:
    """One that leads, until the block ends."""
    rights.grant(plane, namespace)
    port = free_port()
    env = {
        "KUBECONFIG": str(rights.kubeconfig(plane, namespace, folder / "controller.kubeconfig")),
        "REVERIE_POOLS": str(simulated.write_pool(folder)),
        "PYTHONPATH": str(ROOT),
    }
    flags = [
        "--recipe=default",
        f"--namespace={namespace}",
        "--address=127.0.0.1",
        f"--port={port}",
        "--lease_seconds=60",
    ]
    command = ["env", *(f"{key}={value}" for key, value in env.items()), sys.executable, "-m", "controller", *flags]
    with running("controller", command, folder) as program:
        made = Controller(program, port)
        eventually("the controller leads", made.leads, 120)
        yield made


@contextmanager
def silence() -> Iterator[None]:
    """Where pods tell their progress, nobody answers, as behind a network policy that drops packets: the queue of those
    who want to be heard is full, so that Linux answers no more of them."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("0.0.0.0", PROGRESS_PORT))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", PROGRESS_PORT))
        yield


def measure(
    plane: ControlPlane,
    namespace: str,
    reveries: int,
    folder: Path,
    *,
    nodes: int = 0,
    quiet: float = 30.0,
    told: Callable[[Snapshot], None] = lambda now: None,
) -> Measured:
    """Makes so many resources in a new namespace and waits until all have succeeded.

    Args:
        plane: with Volcano or its types, the Reverie type, and nodes for `AT_ONCE` pods a resource.
        namespace: to make.
        reveries: how many.
        folder: of logs; to make.
        nodes: that `stand_in` may use in Volcano's place; 0: Volcano makes the pods.
        quiet: seconds for which nothing happens, once all pods of the first stages run.
        told: what there was at each look.
    """
    api = plane.api()
    folder.mkdir(parents=True)
    api.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
    runs, pods = f"/apis/reverie.dev/v1alpha1/namespaces/{namespace}/reveries", f"/api/v1/namespaces/{namespace}/pods"

    def some(selector: str = "") -> int:
        """How many pods; with a selector, whether any."""
        listed = api.get(f"{pods}?limit=1{selector}")
        return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))

    def first_run() -> bool:
        told(watched.snapshot(found := some()))
        return found >= AT_ONCE * reveries and not some("&fieldSelector=status.phase%3DPending")

    def all_over() -> bool:
        told(watched.snapshot(found := some()))
        if found < PODS * reveries:
            return False
        phases = {one.get("status", {}).get("phase") for one in api.get(runs)["items"]}
        assert "Failed" not in phases
        return phases == {"Succeeded"}

    patience, every = 300 + 2.0 * reveries, 0.5 + reveries / 100
    with ExitStack() as stack:
        watched = stack.enter_context(controller(plane, namespace, folder))
        stack.enter_context(simulated.here())
        stack.enter_context(silence())
        if nodes:
            stack.enter_context(stand_in(plane, namespace, nodes))
        started = watched.snapshot()
        with simulated.kwok(plane):
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda n: api.post(runs, reverie(f"run-{n}", SPEC)), range(reveries)))
            eventually("all pods of the first stages run", first_run, patience, every)
            all_run = watched.snapshot()
            time.sleep(_SETTLES)
            settled = watched.snapshot()
            time.sleep(quiet)
            still = watched.snapshot()
        with simulated.kwok(plane, simulated.COMPLETE):
            eventually("all resources succeeded", all_over, patience, every)
        return Measured(reveries, started, all_run, settled, still, watched.snapshot())
