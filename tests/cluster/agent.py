"""Nodes that really run their pods: the part of a kubelet that our tests need, on loopback.

An agent announces nodes (with GPUs as extended resources), takes the pods that are bound to them, runs each container's
command as a process (tests/cluster/sandbox.py), and reports status, exit codes and logs. Every pod has a network of its
own (tests/cluster/network.py), and finds its peers and services by name in its /etc/hosts. Losing a node kills its
processes without a word and takes its node object away, as a cloud's controller does.
"""

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from urllib3.exceptions import HTTPError

from tests.cluster import pod as pods
from tests.cluster.api import MERGE, Api, ApiError, Json
from tests.cluster.logs import log_server
from tests.cluster.network import Network
from tests.cluster.pod import Image
from tests.cluster.probes import passes
from tests.cluster.sandbox import freeze, kill, stop

HEARTBEAT = 4.0
"""Seconds between two signs of life of a node; the control plane gives up after `--node-monitor-grace-period`."""
_GONE = (404, 409)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """One to announce."""

    name: str
    resources: Mapping[str, str] = field(default_factory=lambda: {"cpu": "8", "memory": "32Gi"})
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()


@contextmanager
def agent(
    api: Api,
    folder: Path,
    nodes: Sequence[Node],
    images: Mapping[str, Image],
    network: Network,
    certificate: tuple[Path, Path],
) -> Iterator["Agent"]:
    """An agent for these nodes until the block ends; `images`: by the name in the pod, without tag and digest."""
    with log_server(folder / "pods", certificate) as port:
        running = Agent(api, folder, images, network, port)
        try:
            for node in nodes:
                running.add(node)
            yield running
        finally:
            running.close()


class Agent:
    """See `agent`."""

    def __init__(self, api: Api, folder: Path, images: Mapping[str, Image], network: Network, port: int) -> None:
        self.api, self.folder, self.images, self.network, self.port = api, folder, images, network, port
        self.running: dict[str, Pod] = {}
        self._alive: set[str] = set()
        self._lock, self.closing = threading.RLock(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._go(self._beat)
        self._go(self._name_peers)

    def add(self, node: Node) -> None:
        """Announces a node and begins to take its pods."""
        names = {"kubernetes.io/hostname": node.name, **node.labels}
        body = {"metadata": {"name": node.name, "labels": names}, "spec": {"taints": list(node.taints)}}
        self.api.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **body})
        size = {"pods": "110", "ephemeral-storage": "100Gi", **node.resources}
        status = {
            "capacity": size,
            "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": node.name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
            "nodeInfo": {"kubeletVersion": "v1.35.3", "operatingSystem": "linux", "architecture": "amd64"},
            "conditions": [_ready()],
        }
        self.api.patch(f"/api/v1/nodes/{node.name}/status", {"status": status})
        with self._lock:
            self._alive.add(node.name)
        self._go(self._watch, node.name)

    def kill_pod(self, namespace: str, name: str) -> None:
        """SIGKILL to all its processes, as from the kernel when memory runs out. It is reported."""
        self._pod(namespace, name).kill()

    @contextmanager
    def frozen(self, namespace: str, name: str) -> Iterator[None]:
        """Its processes stand still until the block ends; nobody is told."""
        pod = self._pod(namespace, name)
        pod.freeze(signal.SIGSTOP)
        try:
            yield
        finally:
            pod.freeze(signal.SIGCONT)

    def _pod(self, namespace: str, name: str) -> "Pod":
        with self._lock:
            alive = [one for one in self.running.values() if one.alive]
        (pod,) = [one for one in alive if (one.namespace, one.name) == (namespace, name)]
        return pod

    def lose(self, node: str) -> None:
        """The machine is gone: its processes with it, and nobody says so until its cloud forgets it."""
        with self._lock:
            self._alive.discard(node)
            lost = [pod for pod in self.running.values() if pod.node == node]
        for pod in lost:
            pod.lose()
        self.api.delete(f"/api/v1/nodes/{node}")  # what a cloud's controller does when a machine is not there any more

    def close(self) -> None:
        """Kills everything."""
        self.closing.set()
        for pod in list(self.running.values()):
            pod.lose()
        for thread in self._threads:
            thread.join(timeout=35)

    def _go(self, work: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _beat(self) -> None:
        while not self.closing.wait(HEARTBEAT):
            for node in sorted(self._alive):
                with _tolerant(f"heartbeat of {node}"):
                    self.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [_ready()]}})

    def _watch(self, node: str) -> None:
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"
        while not self.closing.is_set() and node in self._alive:
            with _tolerant(f"watching the pods of {node}"):
                self._forget(node, {one["metadata"]["uid"] for one in self.api.get(path)["items"]})
                for event in self.api.watch(path, seconds=20):
                    if self.closing.is_set() or node not in self._alive:
                        return
                    self._take(node, event)

    def _forget(self, node: str, there: set[str]) -> None:
        """Ends pods that were deleted while nobody watched."""
        with self._lock:
            gone = [pod for pod in self.running.values() if pod.node == node and pod.alive and pod.uid not in there]
        for pod in gone:
            pod.lose()

    def _take(self, node: str, event: Json) -> None:
        found, uid = event["object"], event["object"]["metadata"].get("uid")
        if event["type"] in ("ERROR", "BOOKMARK"):
            return
        with self._lock:
            known = self.running.get(uid)
            if event["type"] == "DELETED":
                if known:
                    known.lose()
                return
            if known is None:
                if found.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                    return
                known = self.running[uid] = Pod(self, node, found)
                self._go(known.run)
        if found["metadata"].get("deletionTimestamp"):
            known.end(found["metadata"].get("deletionGracePeriodSeconds", 30))

    def _name_peers(self) -> None:
        """Every pod's /etc/hosts: its own namespace's pods by host name and subdomain, and services by their name."""
        while not self.closing.wait(0.5):
            with _tolerant("naming peers"):
                services = self.api.get("/api/v1/services")["items"]
                with self._lock:
                    here = list(self.running.values())
                for pod in here:
                    pod.write_hosts(_names(pod.namespace, here, services))


class Pod:
    """One pod from its binding to its end."""

    def __init__(self, agent: Agent, node: str, spec: Json) -> None:
        self.agent, self.node, self.spec, self.plug = agent, node, spec, agent.network.plug()
        self.ip = self.plug.address
        self.namespace, self.name = spec["metadata"]["namespace"], spec["metadata"]["name"]
        self.folder = agent.folder / "pods" / self.namespace / self.name / spec["metadata"]["uid"]
        self.folder.mkdir(parents=True)
        self.hosts = self.folder / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost\n{self.ip} {pods.hostname(spec)}\n")
        self.statuses: dict[str, Json] = {}
        self.phase = "Pending"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lost, self._ending, self._over = False, threading.Event(), threading.Event()
        self._grace = 30.0
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def run(self) -> None:
        """Init containers one by one, then all others together, until they end for good."""
        with _tolerant(f"pod {self.name}"):
            spec = self.spec["spec"]
            for container in spec.get("initContainers", []):
                if self._container(container, restarts=spec.get("restartPolicy") != "Never") != 0:
                    return self._finish("Failed")
            policy, containers = spec.get("restartPolicy", "Always"), spec["containers"]
            codes: dict[str, int] = {}

            def one(container: Json) -> None:
                codes[container["name"]] = self._container(container, policy != "Never", always=policy == "Always")

            threads = [threading.Thread(target=one, args=(container,), daemon=True) for container in containers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self._finish("Succeeded" if not any(codes.values()) and len(codes) == len(containers) else "Failed")
        return None

    def end(self, grace: float) -> None:
        """Somebody deleted the pod: SIGTERM now, SIGKILL after `grace` seconds."""
        if not self._ending.is_set():
            self._grace = grace
            self._ending.set()
            threading.Thread(target=self._stop, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as the control plane can know."""
        return not self._over.is_set()

    def kill(self) -> None:
        """SIGKILL to its containers."""
        with self._lock:
            for process in self._processes:
                kill(process)

    def freeze(self, number: int) -> None:
        """SIGSTOP or SIGCONT to its containers."""
        with self._lock:
            for process in self._processes:
                freeze(process, number)

    def lose(self) -> None:
        """Kills the containers and says nothing."""
        self._lost = True
        self._ending.set()
        self._over.set()
        self.kill()

    def write_hosts(self, names: str) -> None:
        """In place: the file is mounted."""
        text = f"127.0.0.1 localhost\n{names}"
        if self.hosts.read_text() != text:
            self.hosts.write_text(text)

    def _stop(self) -> None:
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            stop(process, self._grace)
        self._over.wait()
        if not self._lost:
            gone = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            self._insist("deleting", lambda: self.agent.api.delete(self.path, **gone))

    def _container(self, container: Json, restarts: bool, *, always: bool = False) -> int:
        """Runs one container, again if the pod's policy says so; its last exit code."""
        name, count = container["name"], 0
        while True:
            started = _now()
            process = self._start(container)
            if process is None:
                return 128
            self._report(name, {"running": {"startedAt": started}}, count, container)
            code = self._watched(process, container, started, count)
            if self._lost:
                return code
            ended = {"exitCode": code, "startedAt": started, "finishedAt": _now()}
            ended |= {"reason": "Error" if code else "Completed", "message": self._last_words(container, code)}
            self._report(name, {"terminated": ended}, count, container)
            if self._ending.is_set() or not restarts or (code == 0 and not always):
                return code
            count += 1
            self._ending.wait(min(10.0, 0.5 * 2**count))  # the kubelet's back-off, shortened

    def _last_words(self, container: Json, code: int) -> str:
        """What a kubelet reports with `terminationMessagePolicy: FallbackToLogsOnError`."""
        said = pods.termination_log(self.folder, container).read_bytes()[:4096]
        if code and not said:
            said = (self.folder / f"{container['name']}.log").read_bytes()[-2048:]
        return said.decode(errors="replace")

    def _start(self, container: Json) -> subprocess.Popen[bytes] | None:
        """The container's process, once all it refers to is there; None if the pod ended before."""
        image = self.agent.images.get(pods.image_name(container["image"]))
        while not self._ending.is_set():
            try:
                if image is None:
                    raise pods.NotReady(f"no image {container['image']} here")
                env = pods.environment(self.agent.api, self.spec, container, image, self.ip)
                box = pods.sandbox(self.agent.api, self.spec, container, image, self.folder, self.hosts)
            except pods.NotReady as missing:
                waiting = {"reason": "CreateContainerConfigError", "message": str(missing)}
                self._report(container["name"], {"waiting": waiting}, 0, container)
                self._ending.wait(1)
                continue
            except (ApiError, HTTPError) as error:
                log.info("container of %s: %s", self.name, error)
                self._ending.wait(1)
                continue
            words = [*container.get("command", []), *container.get("args", [])]
            command = [pods.expand(word, env) for word in words]
            out = self.folder / f"{container['name']}.log"
            process = box.start(command, env, container.get("workingDir", image.cwd), out, self.plug.command)
            with self._lock:
                self._processes.append(process)
            if self._ending.is_set():  # meanwhile: whoever ended the pod has not seen the process
                stop(process, 0 if self._lost else self._grace)
            return process
        return None

    def _watched(self, process: subprocess.Popen[bytes], container: Json, started: str, count: int) -> int:
        """The exit code, as Kubernetes writes it; probes readiness meanwhile."""
        ready = False
        while process.poll() is None:
            now = passes(container, "readinessProbe", self.ip)
            if now != ready:
                ready = now
                self._report(container["name"], {"running": {"startedAt": started}}, count, container, ready=ready)
            time.sleep(0.1)
        code = process.returncode
        return code if code >= 0 else 128 - code

    def _report(self, name: str, state: Json, restarts: int, container: Json, *, ready: bool = False) -> None:
        status = {"name": name, "image": container["image"], "imageID": "", "restartCount": restarts, "ready": ready}
        self.statuses[name] = status | {"state": state, "started": "running" in state}
        if "running" in state:
            self.phase = "Running"
        self._patch()

    def _finish(self, phase: str) -> None:
        if self._lost:
            return
        self.phase = phase
        self._patch()
        self.plug.pull()
        (self.folder / "over").touch()  # whoever follows its log
        self._over.set()

    @property
    def uid(self) -> str:
        return str(self.spec["metadata"]["uid"])

    def _patch(self) -> None:
        init = {container["name"] for container in self.spec["spec"].get("initContainers", [])}
        main = [status for name, status in self.statuses.items() if name not in init]
        ready = bool(main) and self.phase == "Running" and all(status["ready"] for status in main)
        conditions = [{"type": kind, "status": str(ready)} for kind in ("Ready", "ContainersReady")] + [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": "True"},
        ]
        status = {
            "phase": self.phase,
            "hostIP": "127.0.0.1",
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": self.spec["metadata"]["creationTimestamp"],
            "containerStatuses": main,
            "initContainerStatuses": [status for name, status in self.statuses.items() if name in init],
            "conditions": conditions,
        }
        if not self._lost:
            body = {"metadata": {"uid": self.uid}, "status": status}
            self._insist("status", lambda: self.agent.api.patch(f"{self.path}/status", body, MERGE))

    def _insist(self, what: str, call: Callable[[], object]) -> None:
        """Until the API server has heard it, or says that it never will."""
        while not (self._lost or self.agent.closing.is_set()):
            try:
                call()
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    log.log(
                        logging.DEBUG if error.code in _GONE else logging.WARNING,
                        "%s of %s: %s",
                        what,
                        self.name,
                        error,
                    )
                    return
            except HTTPError as error:
                log.info("%s of %s: %s", what, self.name, error)
            else:
                return
            self.agent.closing.wait(1)


def _names(namespace: str, here: Sequence[Pod], services: Sequence[Json]) -> str:
    lines = []
    for pod in here:
        spec = pod.spec["spec"]
        if pod.phase in ("Succeeded", "Failed") or pod.namespace != namespace:
            continue
        name = pods.hostname(pod.spec)
        if subdomain := spec.get("subdomain"):
            full = f"{name}.{subdomain}"
            lines.append(f"{pod.ip} {full}.{namespace}.svc.cluster.local {full}.{namespace}.svc {full} {name}")
        else:
            lines.append(f"{pod.ip} {name}")
    for service in services:
        where, name = service["metadata"]["namespace"], service["metadata"]["name"]
        wanted = (service["spec"].get("selector") or {}).items()
        for pod in here:
            labels = pod.spec["metadata"].get("labels", {})
            if wanted and pod.namespace == where and pod.phase == "Running" and wanted <= labels.items():
                short = f" {name}" if where == namespace else ""
                lines.append(f"{pod.ip} {name}.{where}.svc.cluster.local {name}.{where}.svc {name}.{where}{short}")
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def _tolerant(what: str) -> Iterator[None]:
    """An agent outlives what goes wrong with the API server: it is one of the things that tests do."""
    try:
        yield
    except ApiError as error:
        if error.code not in _GONE:
            log.warning("%s: %s", what, error)
    except HTTPError as error:
        log.info("%s: %s", what, error)
        time.sleep(0.5)
    except Exception:
        log.exception("%s", what)
        time.sleep(0.5)


def _ready() -> Json:
    return {
        "type": "Ready",
        "status": "True",
        "reason": "AgentReady",
        "message": "takes pods",
        "lastHeartbeatTime": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
