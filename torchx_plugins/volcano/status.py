"""A job and its pods as TorchX tells a status: pure functions of what the API server answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from torchx.schedulers.api import DescribeAppResponse
from torchx.specs import NONE, AppState, ReplicaState, ReplicaStatus, Role, RoleStatus

from config.errors import ConfigError, DataError, ReverieError
from torchx_plugins.schedulers.local_cwd import last_error, meaning
from torchx_plugins.volcano.refusals import refused_pods

JOB_NAME: Final = "volcano.sh/job-name"
TASK: Final = "volcano.sh/task-spec"
INDEX: Final = "volcano.sh/task-index"

# Volcano's phases of a job (staging/src/volcano.sh/apis/pkg/apis/batch/v1alpha1/job.go).
_APP: Final = {
    "Pending": AppState.PENDING,
    "Running": AppState.RUNNING,
    "Restarting": AppState.PENDING,  # its pods are gone and wait to be made anew
    "Completing": AppState.RUNNING,
    "Completed": AppState.SUCCEEDED,
    "Terminating": AppState.RUNNING,
    "Terminated": AppState.FAILED,  # a policy of ours: 64, 65 or 77
    "Failed": AppState.FAILED,
    "Aborting": AppState.RUNNING,
    "Aborted": AppState.CANCELLED,
}
_REPLICA: Final = {
    "Pending": ReplicaState.PENDING,
    "Running": ReplicaState.RUNNING,
    "Succeeded": ReplicaState.SUCCEEDED,
    "Failed": ReplicaState.FAILED,
}
_FAILURES_SHOWN: Final = 5
_NOT_MADE: Final = "Error creating pods"  # of Volcano's event FailedCreatePod


def app_state(job: Mapping[str, Any]) -> AppState:
    """Of a job. One that Volcano has not seen yet is SUBMITTED."""
    phase = job.get("status", {}).get("state", {}).get("phase", "")
    return _APP.get(phase, AppState.SUBMITTED if not phase else AppState.UNKNOWN)


def lacks_pods(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some are still to be made. Somebody may be refusing them."""
    wanted = sum(task.get("replicas", 1) for task in job["spec"].get("tasks", []))
    return not _ended(app_state(job)) and len(pods) < wanted


def describe(
    app_id: str, job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], warnings: Sequence[str] = ()
) -> DescribeAppResponse:
    """What `torchx status` shows.

    Args:
        app_id: `<namespace>:<name>`.
        job: the Volcano job.
        pods: those of its pods that exist; replicas without one are pending, or gone when the job has ended.
        warnings: what the cluster warned of the job, the last one first.
    """
    found = {(_label(pod, TASK), int(_label(pod, INDEX) or 0)): pod for pod in pods}
    status = job.get("status", {})
    state = app_state(job)
    absent = ReplicaState.UNKNOWN if _ended(state) else ReplicaState.PENDING
    roles = list(_roles(job))
    statuses = [
        RoleStatus(
            role.name, [_replica(role.name, k, found.get((role.name, k)), absent) for k in range(role.num_replicas)]
        )
        for role in roles
    ]
    return DescribeAppResponse(
        app_id=app_id,
        state=state,
        num_restarts=status.get("retryCount", 0),
        msg=message(job, list(found.values()), warnings) or NONE,
        roles=roles,
        roles_statuses=statuses,
    )


def message(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], warnings: Sequence[str] = ()) -> str:
    """A line for each failed pod, those first whose code says why; else why the job waits; else what Volcano says."""
    failed = sorted((pod for pod in pods if _phase(pod) == "Failed"), key=_tells_little)
    lines = [failure(pod) for pod in failed[:_FAILURES_SHOWN]]
    if len(failed) > _FAILURES_SHOWN:
        lines.append(f"and {len(failed) - _FAILURES_SHOWN} more failed")
    if not lines:
        lines = sorted({why for pod in pods if (why := waits(pod))})[:_FAILURES_SHOWN]
    if not lines:
        lines = [refused_pods(warning) for warning in warnings if warning.startswith(_NOT_MADE)][:1]
    return "\n".join(lines) or job.get("status", {}).get("state", {}).get("message", "")


def failure(pod: Mapping[str, Any]) -> str:
    """`pretrain/3 ended with exit code 65 (DataError): error: ... (on node-7)`."""
    ended = _terminated(pod)
    code = ended.get("exitCode")
    how = words(code) if code is not None else "its node"  # evicted before it ran, or the node was lost
    because = ended.get("reason", "") or pod.get("status", {}).get("reason", "")
    said = last_error(ended.get("message", "") or pod.get("status", {}).get("message", ""))
    reason = f" ({because})" if because not in ("", "Error", "Completed") else ""
    node = pod.get("spec", {}).get("nodeName", "")
    where = f" (on {node})" if node else ""
    return f"{_label(pod, TASK)}/{_label(pod, INDEX)} ended with {how}{reason}: {said or 'without a word'}{where}"


def waits(pod: Mapping[str, Any]) -> str:
    """Why a pod does not run yet, if Kubernetes says so: no node has room, no such image, no such secret."""
    if _phase(pod) != "Pending":
        return ""
    waiting = [one.get("state", {}).get("waiting", {}) for one in pod["status"].get("containerStatuses", [])]
    unscheduled = [
        one for one in pod["status"].get("conditions", []) if one["type"] == "PodScheduled" and one["status"] == "False"
    ]
    for one in (*waiting, *unscheduled):
        if one.get("message"):
            return f"{_label(pod, TASK)} waits: {one.get('reason', '')}: {one['message']}"
    return ""


def words(code: int) -> str:
    """An exit code of a container, where 128 and more is a signal, unless it is one of ours."""
    ours = {error.exit_code for error in ReverieError.__subclasses__()}
    return meaning(128 - code) if 128 < code <= 128 + 31 and code not in ours else meaning(code)


def _roles(job: Mapping[str, Any]) -> Iterator[Role]:
    for task in job["spec"].get("tasks", []):
        container = task["template"]["spec"]["containers"][0]
        yield Role(
            name=task["name"],
            image=container.get("image", ""),
            entrypoint=next(iter(container.get("command", [])), ""),
            args=list(container.get("args", [])),
            num_replicas=task.get("replicas", 1),
            min_replicas=task.get("minAvailable"),
        )


def _replica(role: str, k: int, pod: Mapping[str, Any] | None, absent: ReplicaState) -> ReplicaStatus:
    if pod is None:
        return ReplicaStatus(id=k, role=role, state=absent, hostname="")
    spec, metadata = pod.get("spec", {}), pod["metadata"]
    within = [spec.get("hostname", ""), spec.get("subdomain", ""), metadata.get("namespace", ""), "svc"]
    state = _REPLICA.get(_phase(pod), ReplicaState.UNKNOWN)
    said = failure(pod) if state == ReplicaState.FAILED else NONE
    return ReplicaStatus(
        id=k, role=role, state=state, hostname=".".join(filter(None, within)), structured_error_msg=said
    )


def _ended(state: AppState) -> bool:
    return state in (AppState.SUCCEEDED, AppState.FAILED, AppState.CANCELLED)


def _phase(pod: Mapping[str, Any]) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _label(pod: Mapping[str, Any], name: str) -> str:
    return str(pod["metadata"].get("labels", {}).get(name, ""))


def _terminated(pod: Mapping[str, Any]) -> dict[str, Any]:
    """How the container ended; empty if it never ran."""
    for one in pod.get("status", {}).get("containerStatuses", []):
        if ended := one.get("state", {}).get("terminated"):
            return dict(ended)
    return {}


def _tells_little(pod: Mapping[str, Any]) -> int:
    """0 for a pod that ended a job by its code; more for those that may only have lost a peer."""
    code = _terminated(pod).get("exitCode", 0)
    if code in (ConfigError.exit_code, DataError.exit_code):
        return 0
    return 1 if code in {error.exit_code for error in ReverieError.__subclasses__()} else 2
