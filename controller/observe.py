"""Objects of the API server as what `reconcile` is told."""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError

from config.report import MOST_VALUES
from controller.api import Json
from controller.observed import Failure, Job, Observed, Report
from controller.render import ATTEMPT, RUN, STAGE, Owner
from controller.resource import GROUP, Spec
from controller.spares import SPARE
from controller.status import Evaluation, StageName, Status
from torchx_plugins.volcano.status import INDEX, JOB_NAME, TASK, failure

FINALIZER: Final = f"{GROUP}/jobs"
_JOB_META: Final = ("name", "namespace", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp")
_LABELS: Final = frozenset({RUN, STAGE, ATTEMPT, JOB_NAME, TASK, INDEX})


class _Results(BaseModel):
    values: list[tuple[str, str, float]] = Field(max_length=MOST_VALUES)


def key_of(one: Json) -> str:
    """`namespace/name` of a resource."""
    return f"{one['metadata']['namespace']}/{one['metadata']['name']}"


def run_of(one: Json) -> str | None:
    """`namespace/name` of the resource that a job or pod belongs to; None if to none."""
    name = one["metadata"].get("labels", {}).get(RUN)
    return f"{one['metadata']['namespace']}/{name}" if name else None


def owner_of(one: Json) -> Owner:
    """The resource as the owner of its jobs."""
    meta = one["metadata"]
    return Owner(meta["name"], meta["namespace"], meta["uid"])


def observe(reverie: Json, jobs: Iterable[Json], pods: Iterable[Json], reports: Mapping[StageName, Report]) -> Observed:
    """Everything there is about a resource.

    Args:
        reverie: the resource.
        jobs: Volcano jobs that carry its name; those of an earlier resource of that name are passed over.
        pods: pods that carry its name.
        reports: the last of each stage.
    """
    meta, owner = reverie["metadata"], owner_of(reverie)
    of_job: dict[str, list[Json]] = {}
    for pod in pods:
        of_job.setdefault(pod["metadata"].get("labels", {}).get(JOB_NAME, ""), []).append(pod)
    spec, invalid = _spec(reverie.get("spec") or {})
    return Observed(
        owner=owner,
        generation=meta.get("generation", 0),
        spec=spec,
        invalid=invalid,
        status=_status(reverie.get("status") or {}),
        jobs=tuple(_job(one, of_job.get(one["metadata"]["name"], [])) for one in jobs if _owned(one, owner)),
        reports=reports,
        finalizer=FINALIZER in meta.get("finalizers", []),
        deleting="deletionTimestamp" in meta,
    )


def trim_run(reverie: Json) -> Json:
    """A resource without the bookkeeping of who wrote which field, which is as large as the rest."""
    meta = {key: value for key, value in reverie["metadata"].items() if key != "managedFields"}
    return {**reverie, "metadata": meta}


def trim_pod(pod: Json) -> Json:
    """What is read of a pod; there may be thousands. Whatever else of it changes is no news."""
    meta, status = pod["metadata"], pod.get("status", {})
    kept = {key: meta[key] for key in ("name", "namespace", "deletionTimestamp") if key in meta}
    labels = {key: sys.intern(value) for key, value in meta.get("labels", {}).items() if key in _LABELS}
    said = {key: status[key] for key in ("phase", "podIP", "reason", "message") if key in status}
    trimmed: Json = {"metadata": {**kept, "labels": labels}, "status": said}
    failed = status.get("phase") == "Failed"
    if failed or labels.get(STAGE) == "pretrain":  # where one failed is asked, and whether a gang waits for a node
        trimmed["spec"] = {"nodeName": pod.get("spec", {}).get("nodeName", "")}
    if failed or _evaluated(trimmed):
        said["containerStatuses"] = [{"state": one.get("state", {})} for one in status.get("containerStatuses") or []]
    return trimmed


def trim_job(job: Json) -> Json:
    """What is read of a job: not its pod template, which is most of it."""
    meta, tasks = job["metadata"], job.get("spec", {}).get("tasks") or [{}]
    kept = {key: meta[key] for key in _JOB_META if key in meta}
    status = {"state": (job.get("status") or {}).get("state", {})}
    return {
        "metadata": kept,
        "spec": {"tasks": [{key: one[key] for key in ("name", "replicas") if key in one} for one in tasks]},
        "status": status,
    }


def _spec(tree: Mapping[str, Any]) -> tuple[Spec | None, str]:
    return _parsed(json.dumps(tree))


@lru_cache(maxsize=4096)  # it seldom changes, and each look at a run needs it
def _parsed(text: str) -> tuple[Spec | None, str]:
    try:
        return Spec.model_validate_json(text), ""
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return None, f"spec.{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _status(tree: Mapping[str, Any]) -> Status:
    """The status as it was written.

    Raises:
        ValidationError: by hand, or by a release that this one cannot follow. Nothing is done then.
    """
    # The kept configs are as large as all the rest, and whoever reads them checks them.
    status = Status.model_validate_json(json.dumps({key: value for key, value in tree.items() if key != "resolved"}))
    return status.model_copy(update={"resolved": tree["resolved"]}) if "resolved" in tree else status


def _owned(job: Json, owner: Owner) -> bool:
    return any(one.get("uid") == owner.uid for one in job["metadata"].get("ownerReferences", []))


def _job(job: Json, pods: list[Json]) -> Job:
    state = (job.get("status") or {}).get("state", {})
    spares, pods = [pod for pod in pods if _spare(pod)], [pod for pod in pods if not _spare(pod)]
    there = [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    return Job(
        name=job["metadata"]["name"],
        phase=state.get("phase", ""),
        message=" ".join(filter(None, (state.get("reason", ""), state.get("message", "")))),
        replicas=job["spec"]["tasks"][0].get("replicas", 1),
        running=sum(pod["status"].get("phase") == "Running" for pod in there),
        waiting=sum(not pod.get("spec", {}).get("nodeName", "-") for pod in there),
        # Volcano writes a task without its replicas where there are none.
        spares=next((one.get("replicas", 0) for one in job["spec"]["tasks"] if one.get("name") == SPARE), None),
        warm=sum(pod["status"].get("phase") == "Running" for pod in spares),
        alive=len(there),  # not Volcano's own counts, which it need not bring up to date once a job has ended
        created=_moment(job["metadata"].get("creationTimestamp")),
        deleting="deletionTimestamp" in job["metadata"],
        failures=tuple(_failure(pod) for pod in pods if pod["status"].get("phase") == "Failed"),
        results=next((found for pod in pods if _evaluated(pod) and (found := _results(pod))), ()),
    )


def _spare(pod: Json) -> bool:
    return bool(pod["metadata"].get("labels", {}).get(TASK) == SPARE)


def _evaluated(pod: Json) -> bool:
    return bool(
        pod["status"].get("phase") == "Succeeded" and pod["metadata"].get("labels", {}).get(STAGE) == "evaluate"
    )


def _results(pod: Json) -> tuple[Evaluation, ...]:
    """It is a pod of the user's image, so its words are looked at before they are believed; no two are of one thing."""
    try:
        said = _Results.model_validate_json(_ended(pod).get("message", ""))
        found = [Evaluation(name=name, metric=metric, value=value) for name, metric, value in said.values]
    except ValidationError:
        return ()
    return tuple({(one.name, one.metric): one for one in found}.values())


def _ended(pod: Json) -> Json:
    """How its container ended; empty if it never ran."""
    states: list[Json] = [one.get("state", {}) for one in pod["status"].get("containerStatuses", [])]
    return next((one["terminated"] for one in states if one.get("terminated")), {})


def _failure(pod: Json) -> Failure:
    ended = _ended(pod)
    return Failure(
        exit_code=ended.get("exitCode"),
        message=failure(pod),
        finished=_moment(ended.get("finishedAt")),
        node=pod["spec"].get("nodeName", ""),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
