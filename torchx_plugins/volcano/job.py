"""An app as one Volcano job: one task per role, with as many replicas as the role has.

Stock TorchX makes a task per replica, whose object outgrows etcd's limit past about 600; here its size does not depend
on the replicas. What tells them apart is VC_TASK_INDEX, and they find each other by DNS name.
"""

from dataclasses import dataclass
from typing import Any, Final

from torchx.specs import AppDef, RetryPolicy, Role

from components.errors import LaunchError
from components.roles import ELASTIC
from torchx_plugins.volcano.macros import RANK0, fill_in
from torchx_plugins.volcano.names import host, job_name, task_names
from torchx_plugins.volcano.needs import needs
from torchx_plugins.volcano.options import Options
from torchx_plugins.volcano.pod import label_value, near_each_other, pod_labels, template
from torchx_plugins.volcano.policies import max_retry, policies

GROUP: Final = "batch.volcano.sh"
VERSION: Final = "v1alpha1"
REJOIN: Final = "REVERIE_REJOIN"  # read by trainer.launch
PREEMPTABLE: Final = "volcano.sh/preemptable"


@dataclass(frozen=True)
class Member:
    """A role's part in the job."""

    role: Role
    task: str
    gang: bool
    """Whether its pods start and restart together. Otherwise each works for itself and `least` are enough to start."""
    least: int


def job(app: AppDef, options: Options, unique: str) -> dict[str, Any]:
    """The object to submit.

    Args:
        app: what to run.
        options: of the launch.
        unique: what tells this launch from others of the app; the job is called `<app>-<unique>`.

    Raises:
        LaunchError: Kubernetes or the cluster's rules would refuse it, or it would do what nobody meant.
    """
    if not app.roles:
        raise LaunchError(f"{app.name}: no roles")
    tasks = task_names(role.name for role in app.roles)
    members = [_member(role, tasks[role.name]) for role in app.roles]
    name = job_name(app.name, unique, {one.task: one.role.num_replicas for one in members})
    retries = max([options.retries, *(role.max_retries for role in app.roles)])
    labels = {"app.kubernetes.io/name": label_value(app.name), "app.kubernetes.io/managed-by": "reverie"}
    spec = {
        "schedulerName": "volcano",
        "queue": options.queue,
        "priorityClassName": options.priority_class,
        "minAvailable": sum(one.least for one in members),
        "maxRetry": max_retry(retries, sum(1 if one.gang else one.role.num_replicas for one in members)),
        "ttlSecondsAfterFinished": options.ttl_seconds,
        "networkTopology": _topology(options.topology),
        # Names resolve before pods are ready: they find each other to become so.
        "plugins": {"svc": ["--publish-not-ready-addresses=true"], "env": []},
        "tasks": [_task(app, one, name, options, alone=len(members) == 1) for one in members],
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Job",
        "metadata": {"name": name, "namespace": options.namespace, "labels": labels | (options.labels or {})},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def _member(role: Role, task: str) -> Member:
    if role.num_replicas < 1:
        raise LaunchError(f"role {role.name}: replicas must be at least 1, got {role.num_replicas}")
    elastic = role.name in ELASTIC or role.retry_policy == RetryPolicy.REPLICA
    least = role.min_replicas if role.min_replicas is not None else 1 if elastic else role.num_replicas
    if not 0 <= least <= role.num_replicas:
        raise LaunchError(f"role {role.name}: min_replicas must be from 0 to {role.num_replicas}, got {least}")
    return Member(role, task, gang=not elastic, least=least)


def _task(app: AppDef, one: Member, name: str, options: Options, *, alone: bool) -> dict[str, Any]:
    labels = pod_labels(app.name, one.task, name)
    wanted = needs(one.role.name, one.role.resource, options.pool)
    many = one.gang and one.role.num_replicas > 1
    env = {RANK0: host(name, one.task, 0), "TORCHX_IMAGE": one.role.image}
    if many:
        env[REJOIN] = "1"
    pod = template(fill_in(one.role, name), one.task, wanted, env, labels | (options.labels or {}), options)
    # Training may take the place of generation, never the other way round.
    pod["metadata"]["annotations"][PREEMPTABLE] = str(not one.gang).lower()
    if many and wanted.topology and not options.topology:
        same = {key: labels[key] for key in ("app.kubernetes.io/instance", "app.kubernetes.io/component")}
        pod["spec"]["affinity"] = near_each_other(wanted.topology, same)
    return {
        "name": one.task,
        "replicas": one.role.num_replicas,
        "minAvailable": one.least,
        "policies": policies(gang=one.gang, alone=alone),
        "template": pod,
    }


def _topology(text: str) -> dict[str, Any] | None:
    """`soft`, `hard` or `hard:2` as Volcano's networkTopology; None if empty."""
    if not text:
        return None
    mode, colon, tier = text.partition(":")
    if mode not in ("soft", "hard") or (colon and not tier.isdecimal()):
        raise LaunchError(f"topology must be soft, hard or hard:TIER with a number, got {text!r}")
    return {"mode": mode} | ({"highestTierAllowed": int(tier)} if tier else {})
