"""A Kubernetes control plane on loopback: etcd, API server, controller manager, schedulers and Volcano, all of it real.

    with control_plane(folder) as plane: ...      # KUBECONFIG=plane.kubeconfig, until the block ends

There are no nodes: `tests/cluster/agent.py` adds some that really run pods, kwok some that only say so.
"""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.cluster import certificates, programs
from tests.cluster.api import Api
from tests.cluster.waiting import eventually
from tests.helm.chart import helm
from tests.servers.built import module_folder
from tests.servers.running import Program, free_port, running

STARTS: Final = 120.0  # seconds that a program may take until it answers
LOOPBACK: Final = "127.0.0.1"
SYSTEM: Final = "volcano-system"
_CHART: Final = Path("installer/helm/chart/volcano")
_SCHEDULER: Final = {
    "actions": "enqueue, allocate, backfill, preempt, reclaim",
    "tiers": [
        {"plugins": [{"name": "priority"}, {"name": "gang"}, {"name": "conformance"}]},
        {"plugins": [{"name": n} for n in ("overcommit", "drf", "predicates", "proportion", "nodeorder", "binpack")]},
    ],
}


@dataclass(frozen=True)
class ControlPlane:
    """One that runs."""

    server: str
    """URL of the API server."""
    kubeconfig: Path
    """Of its administrator."""
    folder: Path
    """Certificates, data and logs, one `<program>.log` each."""
    api_server: Program

    def api(self) -> Api:
        """A client with all rights."""
        return Api(self.kubeconfig)


@contextmanager
def control_plane(
    folder: Path, address: str = LOOPBACK, *, volcano: bool = True, flags: Mapping[str, Sequence[str]] | None = None
) -> Iterator[ControlPlane]:
    """Starts everything, waits until it answers, and stops it in the reverse order when the block ends. The API server
    answers at `address`, which pods may reach where they do not reach loopback. `flags` are more of them by program;
    the last one of a name holds.

    Raises RuntimeError with the end of its log if a program ends or does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = certificates.write(folder, address)
    with ExitStack() as stack:

        def start(name: str, program: Path, *usual: str) -> Program:
            return stack.enter_context(running(name, [str(program), *usual, *(flags or {}).get(name, ())], folder))

        etcd, api = f"http://{LOOPBACK}:{free_port()}", f"https://{address}:{free_port()}"
        peers = f"http://127.0.0.1:{free_port()}"
        database = start(
            "etcd",
            programs.etcd(),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        )
        _wait_for(database, f"{etcd}/health")
        server = start(
            "kube-apiserver",
            programs.kubernetes("kube-apiserver"),
            f"--etcd-servers={etcd}",
            f"--bind-address={address}",
            f"--advertise-address={address}",
            "--endpoint-reconciler-type=none",
            f"--secure-port={api.rpartition(':')[2]}",
            f"--tls-cert-file={keys.server}",
            f"--tls-private-key-file={keys.server_key}",
            f"--client-ca-file={keys.authority}",
            "--authorization-mode=RBAC",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--service-account-issuer={api}",
            f"--service-account-key-file={keys.accounts_key}",
            f"--service-account-signing-key-file={keys.accounts_key}",
        )
        _wait_for(server, f"{api}/readyz", keys)
        plane = ControlPlane(api, _kubeconfig(api, keys, folder / "kubeconfig"), folder, server)
        common = [f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false"]
        kubernetes = [*common, "--bind-address=127.0.0.1"]
        start(
            "kube-controller-manager",
            programs.kubernetes("kube-controller-manager"),
            *kubernetes,
            f"--secure-port={free_port()}",
            f"--service-account-private-key-file={keys.accounts_key}",
            f"--root-ca-file={keys.authority}",
            "--use-service-account-credentials",
            "--node-monitor-grace-period=20s",
        )
        start("kube-scheduler", programs.kubernetes("kube-scheduler"), *kubernetes, f"--secure-port={free_port()}")
        if volcano:
            _start_volcano(plane, keys, start, common)
        yield plane


def _wait_for(program: Program, url: str, keys: certificates.Files | None = None) -> None:
    """Until `url` answers with 200."""
    context = None
    if keys:
        context = ssl.create_default_context(cafile=str(keys.authority))
        context.load_cert_chain(keys.admin, keys.admin_key)
    end = time.monotonic() + STARTS
    while time.monotonic() < end and program.process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5, context=context).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise program.fail(f"does not answer at {url}")


def _kubeconfig(server: str, keys: certificates.Files, file: Path) -> Path:
    tree = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {"server": server, "certificate-authority": str(keys.authority)}}],
        "users": [
            {"name": "admin", "user": {"client-certificate": str(keys.admin), "client-key": str(keys.admin_key)}}
        ],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
    }
    file.write_text(json.dumps(tree))  # JSON is YAML
    return file


def _start_volcano(
    plane: ControlPlane, keys: certificates.Files, start: Callable[..., object], common: Sequence[str]
) -> None:
    """Its resources first, then its admission, and then what acts on them."""
    api, port = plane.api(), free_port()
    api.post("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
    admitted = _apply_chart(api, f"https://127.0.0.1:{port}", keys.authority)
    start(
        "volcano-webhook-manager",
        programs.volcano("webhook-manager"),
        common[0],
        f"--enabled-admission={','.join(admitted)}",
        "--listen-address=127.0.0.1",
        f"--port={port}",
        f"--webhook-url=https://127.0.0.1:{port}",
        f"--ca-cert-file={keys.authority}",
        f"--tls-cert-file={keys.server}",
        f"--tls-private-key-file={keys.server_key}",
    )
    (plane.folder / "volcano-scheduler.yaml").write_text(yaml.safe_dump(_SCHEDULER))
    start(
        "volcano-scheduler",
        programs.volcano("scheduler"),
        *common,
        f"--scheduler-conf={plane.folder / 'volcano-scheduler.yaml'}",
        "--schedule-period=200ms",
        "--kube-api-qps=2000",  # this and the next as in Volcano's chart
        "--kube-api-burst=2000",
        "--cache-dumper=false",
    )
    start("volcano-controller-manager", programs.volcano("controller-manager"), *common)

    def queues() -> list[str]:
        found = api.get("/apis/scheduling.volcano.sh/v1beta1/queues")["items"]
        return [one["metadata"]["name"] for one in found if one.get("status", {}).get("state") == "Open"]

    # The scheduler makes it as its first act, through the admission: then all of Volcano works.
    eventually("Volcano's default queue", lambda: "default" in queues(), STARTS)


def _apply_chart(api: Api, webhooks: str, authority: Path) -> list[str]:
    """The resource types and admission webhooks of Volcano's own chart; the webhooks at an address, not in a pod.

    Returns their paths.
    """
    paths = []
    chart = module_folder(programs.HERE / "volcano", "volcano.sh/volcano") / _CHART
    rendered = helm("template", "volcano", str(chart), "--namespace", SYSTEM)
    for one in yaml.safe_load_all(rendered.stdout):
        kind = one["kind"] if one else ""
        if kind == "CustomResourceDefinition":
            api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", one)
        elif kind.endswith("WebhookConfiguration"):
            for webhook in one["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                bundle = base64.b64encode(authority.read_bytes()).decode()
                paths.append(path)
                webhook["clientConfig"] = {"url": f"{webhooks}{path}", "caBundle": bundle}
            api.post(f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}s", one)
    return paths
