"""Carries out what was decided. Every object of ours is written by one field manager."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from controller.actions import (
    Action,
    AddFinalizer,
    CreateJob,
    DeleteJob,
    DeleteRun,
    Emit,
    RemoveFinalizer,
    ScaleJob,
    SyncJob,
    WriteStatus,
)
from controller.api import Api, ApiError, Json
from controller.observe import FINALIZER, owner_of
from controller.resource import GROUP, KIND, PLURAL, VERSION
from controller.status import written
from torchx_plugins.volcano.commands import command, commands_path
from torchx_plugins.volcano.job import GROUP as JOBS
from torchx_plugins.volcano.job import VERSION as JOBS_VERSION

API_VERSION: Final = f"{GROUP}/{VERSION}"


def runs_path(namespace: str = "", name: str = "") -> str:
    """Of resources: one, those of a namespace, or all."""
    return _path(f"/apis/{API_VERSION}", namespace, PLURAL, name)


def jobs_path(namespace: str = "", name: str = "") -> str:
    """Of Volcano jobs."""
    return _path(f"/apis/{JOBS}/{JOBS_VERSION}", namespace, "jobs", name)


def apply(api: Api, reverie: Json, action: Action, identity: str) -> Json | None:
    """Carries out one action on behalf of a resource.

    Returns:
        the resource, if the action wrote it.

    Raises:
        ApiError: 409 if the resource was changed since it was observed; or another refusal.
        RetryableError: the API server does not answer.
    """
    meta = reverie["metadata"]
    namespace, path = meta["namespace"], runs_path(meta["namespace"], meta["name"])
    match action:
        case AddFinalizer():
            return api.apply(path, _body(reverie, {"finalizers": [FINALIZER]}))
        case RemoveFinalizer():
            return api.apply(path, _body(reverie, {"finalizers": []}))
        case WriteStatus():
            body = _body(reverie, {"resourceVersion": meta["resourceVersion"]})
            return api.apply(f"{path}/status", {**body, "status": written(action.status)})
        case CreateJob():
            _unless_there(lambda: api.create(jobs_path(namespace), action.job), api, reverie, action.job)
        case ScaleJob():
            change = {"op": "add", "path": f"/spec/tasks/{action.task}/replicas", "value": action.replicas}
            api.patch(jobs_path(namespace, action.name), [change])
        case SyncJob():
            api.create(commands_path(namespace), command(api.get(jobs_path(namespace, action.name)), "SyncJob"))
        case DeleteJob():
            # Foreground: the job stays until its pods have ended, so that one can see whether they have.
            api.delete(jobs_path(namespace, action.name), propagationPolicy="Foreground")
        case DeleteRun():
            api.delete(path, preconditions={"uid": meta["uid"]}, propagationPolicy="Background")
        case Emit():
            api.create(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", event(reverie, action, identity))
    return None


def event(reverie: Json, action: Emit, identity: str) -> Json:
    """An event about a resource, as `kubectl describe` shows it."""
    meta = reverie["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{meta['name']}-", "namespace": meta["namespace"]},
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{GROUP}/controller",
        "reportingInstance": identity,
        "action": "Reconcile",
        "type": action.type,
        "reason": action.reason,
        "note": action.message,
        "regarding": {
            "apiVersion": API_VERSION, "kind": KIND, "namespace": meta["namespace"], "name": meta["name"],
            "uid": meta["uid"],
        },
    }  # fmt: skip


def _body(reverie: Json, meta: Json) -> Json:
    named = {key: reverie["metadata"][key] for key in ("name", "namespace", "uid")}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {**named, **meta}}


def _unless_there(create: Callable[[], Json], api: Api, reverie: Json, job: Json) -> None:
    """A job of the same name is this one, made by a decision whose result was not yet seen.

    Raises:
        ApiError: it is somebody else's; or another refusal.
    """
    try:
        create()
    except ApiError as error:
        if error.status != 409:
            raise
        there = api.get(jobs_path(job["metadata"]["namespace"], job["metadata"]["name"]))
        owners = [one.get("uid") for one in there["metadata"].get("ownerReferences", [])]
        if owner_of(reverie).uid not in owners or "deletionTimestamp" in there["metadata"]:
            raise


def _path(api: str, namespace: str, plural: str, name: str) -> str:
    within = f"{api}/namespaces/{namespace}/{plural}" if namespace else f"{api}/{plural}"
    return f"{within}/{name}" if name else within
