"""TorchX's `kubernetes` scheduler, made for large and hardened runs. What it renders is in torchx_plugins/volcano.

* One Volcano task per role, with as many replicas as it has: the object does not grow with them.
* Gangs start and restart together; workers alone; what can never work is not tried again (volcano/policies.py).
* Pods pass Pod Security `restricted`; credentials come by reference and are refused in plain text.
* `--dryrun` needs no cluster, no kubeconfig and no docker.
* status, list, cancel and delete take as many calls for 1,000 replicas as for one.

TorchX finds this module by its place (`torchx_plugins/schedulers`), and what is found wins over the built-in one.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from torchx.plugins import register
from torchx.schedulers.api import DescribeAppResponse, ListAppResponse, Stream, StructuredOpts
from torchx.schedulers.ids import random_id
from torchx.schedulers.kubernetes_scheduler import KubernetesJob, KubernetesScheduler
from torchx.specs import AppDef, AppDryRunInfo, CfgVal, Role, runopts
from yaml import YAMLError

from components.errors import LaunchError
from config.yamls import dump
from torchx_plugins.volcano.cluster import Cluster
from torchx_plugins.volcano.job import job
from torchx_plugins.volcano.names import label, pod_name
from torchx_plugins.volcano.options import Options
from torchx_plugins.volcano.status import app_state, describe, lacks_pods

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

_log = logging.getLogger(__name__)
_UNIQUE: Final = 8  # characters, 20·29⁷ launches of one app
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass
class Rendered(KubernetesJob):
    """What would be submitted. As text it is YAML that `kubectl create -f -` takes."""

    def __str__(self) -> str:
        return dump(self.resource)

    __repr__ = __str__


class Kubernetes(KubernetesScheduler):
    """Roles as tasks of a Volcano job."""

    @classmethod
    def _opts_type(cls) -> type[StructuredOpts]:
        return Options

    def _run_opts(self) -> runopts:
        return Options.as_runopts()

    def _submit_dryrun(self, app: AppDef, cfg: Any) -> AppDryRunInfo[KubernetesJob, Any]:
        pushed = self.dryrun_push_images(app, cfg)
        resource = job(app, cfg, random_id(_UNIQUE))
        for role in app.roles:
            if root := local_root(role):
                _log.warning("%s", unreachable(role, root))
        if cfg.validate_spec:
            self._cluster().create(resource, dry_run=True)
        return AppDryRunInfo(Rendered(images_to_push=pushed, resource=resource), str)

    def schedule(self, dryrun_info: AppDryRunInfo[KubernetesJob, Any]) -> str:
        """Submits a job; its id, `<namespace>:<name>`.

        Raises:
            LaunchError: the cluster refuses it, or its pods could share nothing.
        """
        for role in dryrun_info.app.roles if dryrun_info.app else ():
            if root := local_root(role):
                raise LaunchError(unreachable(role, root))
        request = dryrun_info.request
        self.push_images(request.images_to_push)
        cluster = self._cluster()
        _require(cluster, request.resource)
        meta = cluster.create(request.resource)["metadata"]
        return f"{meta['namespace']}:{meta['name']}"

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """State of an app and each replica, with the reason of what failed; None if there is none. Two calls, and one
        more while pods are missing."""
        (namespace, name), cluster = _parts(app_id), self._cluster()
        found = cluster.job(namespace, name)
        if found is None:
            return None
        pods = cluster.pods(namespace, name)
        return describe(app_id, found, pods, cluster.warnings(namespace, name) if lacks_pods(found, pods) else ())

    def describe_native(self, app_id: str) -> AppDryRunInfo[KubernetesJob, Any] | None:
        """The job as the cluster has it."""
        found = self._cluster().job(*_parts(app_id))
        return AppDryRunInfo(Rendered(images_to_push={}, resource=found), str) if found else None

    def exists(self, app_id: str) -> bool:
        """Whether there is such a job. One call."""
        return self._cluster().job(*_parts(app_id)) is not None

    def cancel(self, app_id: str) -> None:
        """Ends an app and keeps its job to look at. Nothing happens if there is none. Two calls."""
        namespace, name = _parts(app_id)
        if found := self._cluster().job(namespace, name):
            self._cluster().abort(namespace, found)

    def delete(self, app_id: str) -> None:
        """Removes a job with its pods. Nothing happens if there is none. One call."""
        self._cluster().delete(*_parts(app_id))

    def list(self, cfg: Mapping[str, CfgVal] | None = None) -> list[ListAppResponse]:
        """The jobs of a namespace: the option's, else the kubeconfig's."""
        namespace = str((cfg or {}).get("namespace") or self._own_namespace())
        return [
            ListAppResponse(app_id=f"{namespace}:{one['metadata']['name']}", state=app_state(one))
            for one in self._cluster().jobs(namespace)
        ]

    def log_iter(
        self,
        app_id: str,
        role_name: str,
        k: int = 0,
        regex: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        should_tail: bool = False,
        streams: Stream | None = None,
    ) -> Iterable[str]:
        """Lines of a replica's log, each with its time. One call.

        Raises:
            LaunchError: there is no such pod, or it has not started; or an option that Kubernetes does not know.
        """
        if until is not None or streams not in (None, Stream.COMBINED):
            raise LaunchError(
                "log: Kubernetes keeps one stream per pod and reads it to the end: no --until, no --streams"
            )
        namespace, name = _parts(app_id)
        query: dict[str, Any] = {"timestamps": "true", "container": label(role_name)}
        if should_tail:
            query["follow"] = "true"
        if since is not None:
            query["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = self._cluster().log(namespace, pod_name(name, label(role_name), k), query)
        return filter(re.compile(regex).search, lines) if regex else lines

    def _cluster(self) -> Cluster:
        return Cluster(self._api_client())

    def _api_client(self) -> "ApiClient":
        """The cluster of the pod that this runs in, else of the kubeconfig."""
        if self._client is None:
            try:
                from kubernetes import client, config
            except ImportError:
                raise LaunchError("no Kubernetes client; install it: pip install 'reverie[kubernetes]'") from None
            configuration = client.Configuration()
            try:
                self._load(configuration)
            except (config.ConfigException, YAMLError) as error:
                raise LaunchError(
                    f"no cluster: {' '.join(str(error).split())}; KUBECONFIG names the file, "
                    "kubectl config get-contexts shows it"
                ) from None
            self._client = client.ApiClient(configuration)
        return self._client

    @staticmethod
    def _load(configuration: "Configuration") -> None:
        from kubernetes import config

        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            config.load_kube_config(client_configuration=configuration)

    def _own_namespace(self) -> str:
        from kubernetes import config

        if _NAMESPACE_FILE.is_file():
            return _NAMESPACE_FILE.read_text().strip()
        try:
            return str(self._get_active_context()["context"].get("namespace") or "default")
        except config.ConfigException:
            return "default"


def local_root(role: Role) -> str:
    """The root that a role is given, if it is a folder and nothing is mounted in its pods; else empty."""
    roots = [value for flag, value in zip(role.args, role.args[1:], strict=False) if flag == "--root"]
    roots += re.findall(r" --root (\S+)", " ".join(role.args)) if role.entrypoint == "bash" else []
    return next((root for root in roots if not role.mounts and urlsplit(root).scheme in ("", "file")), "")


def unreachable(role: Role, root: str) -> str:
    """Why pods need a root elsewhere."""
    return f"role {role.name}: --root {root} is a folder of each pod, which ends with it; give s3://, gs:// or az://"


def _require(cluster: Cluster, job: Mapping[str, Any]) -> None:
    """Volcano takes a job whose pods can never be made for want of what they name, and tries for ever.

    Raises:
        LaunchError: there is no such service account or priority class; or an earlier reason, such as the namespace.
    """
    namespace, spec = job["metadata"]["namespace"], job["spec"]
    account = spec["tasks"][0]["template"]["spec"].get("serviceAccountName")
    named = {
        "service_account": (account, f"/api/v1/namespaces/{namespace}/serviceaccounts"),
        "priority_class": (spec.get("priorityClassName"), "/apis/scheduling.k8s.io/v1/priorityclasses"),
    }
    for option, (name, path) in named.items():
        if name and not cluster.has(f"{path}/{name}"):
            cluster.create(job, dry_run=True)
            kind = path.rpartition("/")[2]
            raise LaunchError(
                f"cannot submit job {namespace}:{job['metadata']['name']}: no {option.replace('_', ' ')} {name}; "
                f"kubectl -n {namespace} get {kind} lists those there are; -cfg {option}=NAME takes one"
            )


def _parts(app_id: str) -> tuple[str, str]:
    """Namespace and name.

    Raises:
        LaunchError: it is no id of ours.
    """
    namespace, colon, name = app_id.partition(":")
    if not (namespace and colon and name):
        raise LaunchError(f"no app {app_id}: an app of this scheduler is kubernetes://torchx/<namespace>:<name>")
    return namespace, name


@register.scheduler(name="kubernetes")
def create(session_name: str, client: "ApiClient | None" = None, **options: object) -> Kubernetes:
    """What TorchX calls. `client` is a connection to a cluster; by default one is made when it is needed."""
    return Kubernetes(session_name, client=client)
