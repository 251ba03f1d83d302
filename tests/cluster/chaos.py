"""Faults of a real cluster while a `Reverie` runs, drawn by a seed, and what became of the run.

    with weather(cluster) as sky:
        calm = sky.run("calm", [])
        rough = sky.run("rough", plan(seed=1, runs=1)[0])
        assert rough.result == calm.result

Every fault is done to the real thing: processes are killed and stopped, nodes go, the API server is killed and started
again, a proxy before the S3 server fails, delays and loses replies.
"""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import mlflow
from urllib3.exceptions import HTTPError

from shards import Storage, check, dataset_digest, markers
from tests.cluster.agent import Node
from tests.cluster.api import MERGE, ApiError, Json
from tests.cluster.cluster import ROOT, LocalCluster
from tests.cluster.launched import MLFLOW, NAMESPACE, storage_secret
from tests.cluster.waiting import eventually
from tests.servers.proxy import Fault, faulty_proxy
from tests.servers.s3 import BUCKET

RUNS: Final = f"/apis/reverie.dev/v1alpha1/namespaces/{NAMESPACE}/reveries"
JOBS: Final = f"/apis/batch.volcano.sh/v1alpha1/namespaces/{NAMESPACE}/jobs"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/reverie-controller"
CONTROLLER: Final = "app.kubernetes.io%2Fcomponent%3Dcontroller"
TRACKER: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/reverie-mlflow"
DATABASE: Final = Path("pods") / "claims" / NAMESPACE / "reverie-mlflow" / "mlflow.db"

LEASE_SECONDS: Final = 10
STEPS: Final = 24
SPEC: Final[Json] = {
    "recipes": {"generate": "nano", "pretrain": "nano", "evaluate": "nano"},
    "tracking": {"uri": MLFLOW, "systemMetrics": False},
    "secrets": ["stormy"],
    "serviceAccount": "reverie-jobs",
    "queue": "reverie-training",
    "lease": {"poll": 0.5, "ttl": LEASE_SECONDS},
    "caption": {"threads": 1, "config": {"count": 24, "perUnit": 4}},
    "image": {"threads": 1, "replicas": 2, "config": {"steps": 4, "batch": 8, "perCaption": 4}},
    "pretrain": {
        "threads": 1,
        "nodes": 2,
        "config": {
            "schedule": {"steps": STEPS, "warmupSteps": 1},
            "batch": {"captions": 4},
            "checkpoint": {"everySteps": 2},
            "metrics": {"everySteps": 1},
        },
    },
    "evaluate": {
        "threads": 1,
        "data": f"s3://{BUCKET}/judged",
        "config": {"knn": {"neighbours": [5]}, "linearProbe": {"epochs": 2}, "logModel": False},
    },
    "failurePolicy": {"backoffSeconds": 1, "maxRestarts": 50, "suspectFailures": 0},
}
"""All stages, in minutes; work is committed every few seconds, so that a fault has something to interrupt."""

WORKERS: Final = frozenset({"caption", "image"})
SLOTS: Final = ("caption",) * 3 + ("image",) * 4 + ("pretrain",) * 4 + ("evaluate",)
"""The stages of a run that its faults meet, in order."""


@dataclass(frozen=True)
class Planned:
    """A fault that is to come: in a stage, so many seconds after it runs."""

    kind: str
    stage: str
    delay: float
    seed: int


@dataclass(frozen=True)
class Done:
    """A fault that came."""

    kind: str
    stage: str
    what: str
    """What it met; empty if there was nothing to meet any more."""
    seconds: float
    """Until the next piece of work was committed, from the fault's beginning."""
    led: float | None = None
    """Until a controller led again, where the fault could end that."""


@dataclass(frozen=True)
class Result:
    """What must not depend on faults."""

    captions: str
    """Digest of all samples, each there once."""
    images: str
    weights: str
    """Digest of the last checkpoint's encoder and of all that the objective trains."""
    loss: float
    """Of the last step."""
    evaluations: Mapping[str, float]


@dataclass
class Outcome:
    """How one run went."""

    name: str
    phase: str
    seconds: float
    faults: list[Done]
    restarts: Mapping[str, int]
    result: Result | None
    left: list[str] = field(default_factory=list)
    """Objects of the cluster and leases that were there after the run was deleted."""


def plan(seed: int, runs: int) -> list[list[Planned]]:
    """The faults of so many runs. Kinds come in turn, each as often as the others, in an order of the seed."""
    drawn = random.Random(seed)
    deck: list[str] = []
    planned = []
    for _ in range(runs):
        faults = []
        for stage in SLOTS:
            if not any(suits(kind, stage) for kind in deck):
                deck += drawn.sample(list(KINDS), len(KINDS))
            kind = next(kind for kind in deck if suits(kind, stage))
            deck.remove(kind)
            faults.append(Planned(kind, stage, drawn.uniform(0, 4), drawn.getrandbits(32)))
        planned.append(faults)
    return planned


def suits(kind: str, stage: str) -> bool:
    """Whether a fault can meet a stage: leases and markers are those of captions and images."""
    return stage in WORKERS or kind not in ("marker written twice", "lease's clock jumps")


class Weather:
    """The faults that can be done to a cluster, and the runs that meet them."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster, self.api, self.agent = cluster, cluster.api, cluster.agent
        self.bucket = cluster.s3.folder / BUCKET
        self.s3_fault: Callable[[str], Fault | None] = lambda _: None
        self._nodes = 0

    def run(self, name: str, faults: Sequence[Planned], seconds: float = 1800) -> Outcome:
        """From `kubectl apply` to the end, through these faults."""
        began = time.monotonic()
        meta = {"apiVersion": "reverie.dev/v1alpha1", "kind": "Reverie", "metadata": {"name": name}}
        self.api.post(RUNS, {**meta, "spec": {**SPEC, "root": f"s3://{BUCKET}/{name}"}})
        done = []
        try:
            for planned in faults:
                if (fault := self._meet(name, planned)) is None:
                    break
                done.append(fault)
            eventually("the end", lambda: self.over(name), seconds)
        except AssertionError as error:
            error.add_note("\n".join([*map(str, done), *self._state(name)]))
            raise
        took = time.monotonic() - began
        status = self.status(name)
        restarts = {one["cause"]: one["count"] for one in status.get("restarts", [])}
        result = self.result(name) if status["phase"] == "Succeeded" else None
        return Outcome(name, status["phase"], took, done, restarts, result, self._delete(name))

    def status(self, name: str) -> Json:
        """As the API server tells it; empty while it does not answer."""
        try:
            found: Json = self.api.get(f"{RUNS}/{name}").get("status", {})
        except (ApiError, HTTPError):
            return {}
        return found

    def over(self, name: str) -> bool:
        return self.status(name).get("phase") in ("Succeeded", "Failed")

    def pods(self, name: str, stage: str = "") -> list[Json]:
        """Those of the run that work, or of one stage's."""
        selector = f"reverie.dev%2Frun%3D{name}" + (f",reverie.dev%2Fstage%3D{stage}" if stage else "")
        found = self.api.get(f"{PODS}?labelSelector={selector}")["items"]
        return [one for one in found if self._alive(one["metadata"]["name"])]

    def result(self, name: str) -> Result:
        """Of a run that succeeded. Raises AssertionError if a sample is bad, missing or there twice."""
        root = self.bucket / name
        storage = Storage(str(root))
        digests = {}
        for stage, samples in (("captions", 24), ("images", 24)):
            report = check(storage, stage)
            assert (report.bad, report.missing, report.samples) == ({}, [], samples), report
            digests[stage] = dataset_digest(markers(storage, stage).values())
        (last,) = root.glob(f"checkpoints/*/step-{STEPS:08d}")
        weights = hashlib.sha256(b"".join((last / f"{one}.safetensors").read_bytes() for one in ("encoder", "model")))
        told = {f"{one['name']}/{one['metric']}": one["value"] for one in self.status(name)["evaluations"]}
        loss = losses(self.agent.folder / DATABASE, name)[STEPS]
        return Result(digests["captions"], digests["images"], weights.hexdigest(), loss, told)

    def _meet(self, name: str, planned: Planned) -> Done | None:
        """One fault in its time; None if the run was over before."""
        eventually(f"{planned.stage} works", lambda: self._reached(name, planned.stage), 600)
        time.sleep(planned.delay)
        if self.over(name):
            return None
        stage = next((one["name"] for one in self._stages(name) if one["state"] == "Running"), planned.stage)
        before, began, came = self._work(name), time.monotonic(), threading.Event()
        worked: list[float] = []

        def look() -> None:
            while not came.wait(0.1):
                if self._work(name) - before:
                    worked.append(time.monotonic() - began)
                    return

        watching = threading.Thread(target=look, daemon=True)
        watching.start()
        what = KINDS[planned.kind](self, name, planned.stage, random.Random(planned.seed))
        led = self._led_again(began) if planned.kind in LEADERLESS else None
        eventually(f"work after {planned}", lambda: worked or self.over(name), 600)
        came.set()
        watching.join()
        return Done(planned.kind, stage, what, worked[0] if worked else time.monotonic() - began, led)

    def _led_again(self, began: float) -> float:
        """Seconds from `began` until the lease is renewed by a controller that lives."""
        since = datetime.now(UTC)

        def renewed() -> bool:
            try:
                spec = self.api.get(LEASE)["spec"]
            except (ApiError, HTTPError):
                return False
            alive = any(str(spec.get("holderIdentity")).startswith(pod) for pod in self._controllers())
            return alive and datetime.fromisoformat(spec["renewTime"]) > since

        eventually("a controller leads", renewed, 180)
        return time.monotonic() - began

    def _reached(self, name: str, stage: str) -> bool:
        """Whether a stage works, or is over."""
        states = {one["name"]: one["state"] for one in self._stages(name)}
        return self.over(name) or states.get(stage) in ("Running", "Succeeded")

    def _stages(self, name: str) -> list[Json]:
        found: list[Json] = self.status(name).get("stages", [])
        return found

    def _work(self, name: str) -> set[Path]:
        """What is committed. Old checkpoints go, so only what comes is news."""
        kinds = ("captions/*.json", "images/*.json", "checkpoints/*/*/COMMITTED", "evaluations/*/*.json")
        return {file for kind in kinds for file in (self.bucket / name).glob(kind)}

    def _alive(self, pod: str) -> bool:
        return any(one.name == pod and one.alive and one.namespace == NAMESPACE for one in self.agent.running.values())

    def _one(self, name: str, stage: str, drawn: random.Random) -> str:
        """A pod of the run, of the stage if it has one."""
        found = eventually("a pod", lambda: self.pods(name, stage) or self.pods(name) or self.over(name), 300)
        return str(drawn.choice(found)["metadata"]["name"]) if isinstance(found, list) else ""

    def _controllers(self) -> list[str]:
        """Pods of controllers that live."""
        names = [one["metadata"]["name"] for one in self.api.get(f"{PODS}?labelSelector={CONTROLLER}")["items"]]
        return [name for name in names if self._alive(name)]

    def _leader(self) -> str:
        """The pod of the controller that leads."""

        def look() -> str:
            holder = str(self.api.get(LEASE)["spec"].get("holderIdentity", ""))
            return next((pod for pod in self._controllers() if holder.startswith(pod)), "")

        return eventually("a leader", look, 120)

    def _state(self, name: str) -> Iterator[str]:
        """Where a run stands, for people."""
        status = self.status(name)
        yield f"{name}: {status.get('phase')}, restarts {status.get('restarts')}"
        yield from (f"  {one}" for one in self._stages(name))
        selector = f"labelSelector=reverie.dev%2Frun%3D{name}"
        for job in self.api.get(f"{JOBS}?{selector}")["items"]:
            yield f"job {job['metadata']['name']}: {job.get('status', {}).get('state')}"
        for pod in self.api.get(PODS)["items"]:
            told, here, phase = pod["metadata"]["name"], pod["spec"].get("nodeName"), pod["status"].get("phase")
            yield f"pod {told} on {here}: {phase}, {'has' if self._alive(told) else 'has no'} processes"
            for log in sorted((self.agent.folder / "pods" / NAMESPACE / told).glob("*/*.log")):
                yield from (f"    {line[:300]}" for line in log.read_text(errors="replace").splitlines()[-8:])

    def _delete(self, name: str) -> list[str]:
        """Deletes the run; what is left of it a minute later."""
        self.api.delete(f"{RUNS}/{name}")

        def left() -> list[str]:
            selector = f"labelSelector=reverie.dev%2Frun%3D{name}"
            found = [one for path in (JOBS, PODS) for one in self.api.get(f"{path}?{selector}")["items"]]
            storage = Storage(str(self.bucket / name))
            leases = [f"{stage}/{one}" for stage in ("captions", "images") for one in storage.list(f"leases/{stage}")]
            return [*(one["metadata"]["name"] for one in found), *leases]

        end = time.monotonic() + 60
        while left() and time.monotonic() < end:
            time.sleep(0.5)
        return left()

    # The faults. Each returns what it was done to.

    def kill_pod(self, name: str, stage: str, drawn: random.Random) -> str:
        if pod := self._one(name, stage, drawn):
            self.agent.kill_pod(NAMESPACE, pod)
        return pod

    def freeze_pod(self, name: str, stage: str, drawn: random.Random) -> str:
        """Longer than its lease lasts: it goes on as one whose work another has taken over."""
        if pod := self._one(name, stage, drawn):
            with self.agent.frozen(NAMESPACE, pod):
                time.sleep(1.5 * LEASE_SECONDS)
        return pod

    def lose_node(self, name: str, stage: str, drawn: random.Random) -> str:
        """With all that runs on it. A new machine comes at once."""
        pod = self._one(name, stage, drawn)
        if not pod:
            return ""
        node = next(one.node for one in self.agent.running.values() if one.name == pod and one.alive)
        self._nodes += 1
        self.agent.add(Node(f"cpu-new-{self._nodes}", {"cpu": "16", "memory": "64Gi"}, {"reverie.dev/pool": "cpu"}))
        self.agent.lose(node)
        return node

    def kill_controller(self, name: str, stage: str, drawn: random.Random) -> str:
        """In the middle of what it does: right after it wrote a status."""
        leader = self._leader()
        version = self.api.get(f"{RUNS}/{name}")["metadata"]["resourceVersion"]
        end = time.monotonic() + 20
        while time.monotonic() < end and self.api.get(f"{RUNS}/{name}")["metadata"]["resourceVersion"] == version:
            time.sleep(0.005)
        self.agent.kill_pod(NAMESPACE, leader)
        return leader

    def change_leader(self, name: str, stage: str, drawn: random.Random) -> str:
        leader = self._leader()
        self.api.delete(f"{PODS}/{leader}")
        return leader

    def api_down(self, name: str, stage: str, drawn: random.Random) -> str:
        self.cluster.plane.api_server.restart(down=60)
        return "60 s"

    def api_restarted(self, name: str, stage: str, drawn: random.Random) -> str:
        """Every watch breaks off, and the versions to go on from are too old: 410 Gone."""
        self.cluster.plane.api_server.restart()
        return "at once"

    def s3_errors(self, name: str, stage: str, drawn: random.Random) -> str:
        statuses = (500, 503, None, None, None)
        with self._s3(lambda _: Fault(status=status) if (status := drawn.choice(statuses)) else None):
            time.sleep(15)
        return "two of five requests for 15 s"

    def s3_slow(self, name: str, stage: str, drawn: random.Random) -> str:
        with self._s3(lambda _: Fault(delay=1)):
            time.sleep(15)
        return "1 s each for 15 s"

    def marker_twice(self, name: str, stage: str, drawn: random.Random) -> str:
        """The server writes a marker, its reply is lost, and the client writes it again."""
        hit: list[str] = []

        def rule(line: str) -> Fault | None:
            words = line.split()
            folder, _, file = words[1].partition("?")[0].rpartition("/")
            marks = folder.endswith(("captions", "images")) and "/leases/" not in folder
            if words[0] != "PUT" or not marks or not file.endswith(".json"):
                return None
            hit.append(file)
            return Fault(cut=0)

        with self._s3(lambda line: rule(line) if not hit else None):
            end = time.monotonic() + 60
            while not hit and time.monotonic() < end and not self.over(name):
                time.sleep(0.1)
        return ", ".join(hit)

    def clock_jumps(self, name: str, stage: str, drawn: random.Random) -> str:
        """The store's clock goes an hour on: what is held looks long abandoned."""
        held: list[Path] = []
        end = time.monotonic() + 60
        while not held and time.monotonic() < end and not self.over(name):
            held = list((self.bucket / name / "leases").glob("*/*.json"))
            time.sleep(0.05)
        for file in held:
            if file.exists():
                os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 3600))
        return ", ".join(file.name for file in held)

    def mlflow_down(self, name: str, stage: str, drawn: random.Random) -> str:
        for replicas in (0, 1):
            self.api.patch(TRACKER, {"spec": {"replicas": replicas}}, MERGE)
            time.sleep(20 * (1 - replicas))
        return "20 s"

    @contextmanager
    def _s3(self, rule: Callable[[str], Fault | None]) -> Iterator[None]:
        self.s3_fault = rule
        try:
            yield
        finally:
            self.s3_fault = lambda _: None


KINDS: Final[Mapping[str, Callable[[Weather, str, str, random.Random], str]]] = {
    "pod killed": Weather.kill_pod,
    "pod frozen": Weather.freeze_pod,
    "node lost": Weather.lose_node,
    "controller killed mid-write": Weather.kill_controller,
    "leader changes": Weather.change_leader,
    "API server down": Weather.api_down,
    "watches dropped, 410 Gone": Weather.api_restarted,
    "S3 errors": Weather.s3_errors,
    "S3 slow": Weather.s3_slow,
    "marker written twice": Weather.marker_twice,
    "lease's clock jumps": Weather.clock_jumps,
    "MLflow down": Weather.mlflow_down,
}


LEADERLESS: Final = frozenset(
    {"node lost", "controller killed mid-write", "leader changes", "API server down", "watches dropped, 410 Gone"}
)
"""Those that may leave nobody who leads."""


@contextmanager
def weather(cluster: LocalCluster) -> Iterator[Weather]:
    """Faults for a cluster that has the chart's release with its controller, and labelled renders in `judged`."""
    made = Weather(cluster)
    address = urlsplit(cluster.s3.endpoint)
    assert address.hostname
    assert address.port
    with faulty_proxy(address.port, lambda line: made.s3_fault(line), address.hostname) as endpoint:
        storage_secret(cluster, "stormy", endpoint)
        yield made


def judged(cluster: LocalCluster) -> None:
    """Labelled renders to judge on, in the bucket."""
    where = str(cluster.s3.folder / BUCKET / "judged")
    renders = ["--recipe", "nano", "--train", "48", "--test", "24", "--data", where]
    subprocess.run([sys.executable, "-m", "nano.renders", *renders], cwd=ROOT, check=True)


def losses(database: Path, name: str) -> dict[int, float]:
    """Of each step of a run's pretraining. A step that was done again must have had the same loss."""
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("reverie")
    assert experiment is not None
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`reverie.stage` = 'pretrain' AND params.root LIKE '%/{name}'"
    )
    found: dict[int, float] = {}
    for child in children:
        for point in client.get_metric_history(child.info.run_id, "loss/total"):
            assert found.setdefault(point.step, point.value) == point.value, f"step {point.step} had two losses"
    return found
