"""Volcano's part for a load that Volcano itself would be too slow for: pods for each job, as its tasks say, at once and
on nodes in turn; a job runs when its pods are made, and is completed when all of them have succeeded.

What the controller sees of it is what it sees of Volcano: the same objects with the same labels, in fewer steps.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from urllib3.exceptions import HTTPError

from tests.cluster.api import MERGE, Api, Json
from tests.cluster.control_plane import ControlPlane
from torchx_plugins.volcano.status import INDEX, JOB_NAME, TASK

_AT_ONCE = 8  # jobs whose pods are made


class _Jobs:
    def __init__(self, kubeconfig: Path, namespace: str, nodes: int) -> None:
        self._api = Api(kubeconfig)
        self._namespace = namespace
        self._nodes = itertools.cycle(range(nodes))
        self._left: dict[str, set[str]] = {}  # pods that have not succeeded, by job
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "jobs")
        self._stop = threading.Event()

    @property
    def path(self) -> str:
        return f"/apis/batch.volcano.sh/v1alpha1/namespaces/{self._namespace}/jobs"

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods"

    def watch(self, path: str, take: Callable[[Json], object]) -> None:
        """Until it ends; what comes twice is passed over by `take`."""
        try:
            while not self._stop.is_set():
                for event in self._api.watch(path, 60):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        take(event["object"])
                    if self._stop.is_set():
                        return
        except HTTPError:
            if not self._stop.is_set():  # afterwards the API server ends when it likes
                raise

    def made(self, job: Json) -> None:
        name = job["metadata"]["name"]
        with self._lock:
            if name in self._left:
                return
            self._left[name] = {
                f"{name}-{task['name']}-{index}" for task in job["spec"]["tasks"] for index in range(task["replicas"])
            }
        self._pool.submit(self._run, job)

    def _run(self, job: Json) -> None:
        for task in job["spec"]["tasks"]:
            for index in range(task["replicas"]):
                self._api.post(self.pods, self._pod(job, task, index))
        self._becomes(job["metadata"]["name"], "Running")

    def _pod(self, job: Json, task: Json, index: int) -> Json:
        name, template = job["metadata"]["name"], task["template"]
        labels = {**template["metadata"].get("labels", {}), JOB_NAME: name, TASK: task["name"], INDEX: str(index)}
        owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": name, "uid": job["metadata"]["uid"]}
        meta = {"name": f"{name}-{task['name']}-{index}", "labels": labels, "ownerReferences": [owner]}
        return {"metadata": meta, "spec": {**template["spec"], "nodeName": f"simulated-{next(self._nodes)}"}}

    def succeeded(self, pod: Json) -> None:
        name = pod["metadata"]["labels"][JOB_NAME]
        with self._lock:
            left = self._left.get(name)
            if not left:
                return
            left.discard(pod["metadata"]["name"])
            if left:
                return
        self._pool.submit(self._becomes, name, "Completed")

    def _becomes(self, name: str, phase: str) -> None:
        self._api.patch(f"{self.path}/{name}/status", {"status": {"state": {"phase": phase}}}, MERGE)

    def stop(self) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def stand_in(plane: ControlPlane, namespace: str, nodes: int) -> Iterator[None]:
    """Makes pods for the jobs of a namespace until the block ends, on so many nodes of tests/cluster/simulated.py."""
    jobs = _Jobs(plane.kubeconfig, namespace, nodes)
    ended = f"{jobs.pods}?fieldSelector=status.phase%3DSucceeded"
    for path, take in ((jobs.path, jobs.made), (ended, jobs.succeeded)):
        threading.Thread(target=jobs.watch, args=(path, take), daemon=True).start()
    try:
        yield
    finally:
        jobs.stop()
