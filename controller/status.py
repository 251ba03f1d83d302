"""What the controller answers: the status of a `Reverie`. It is written whole each time, by nobody else.

A controller of another version may have written it, so unlike in the spec an unknown key is passed over.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, PlainSerializer

from controller.resource import Part

StageName = Literal["caption", "image", "render", "pretrain", "evaluate"]
Cause = Literal["crash", "retryable", "hang", "signal", "node", "preempted", "deleted", "config", "data", "notFinite"]
Phase = Literal["Invalid", "Pending", "Running", "Restarting", "Suspended", "Succeeded", "Failed"]
State = Literal["Waiting", "Pending", "Running", "BackOff", "Suspended", "Succeeded", "Failed", "Cancelled"]


def moment(time: datetime) -> str:
    """As Kubernetes writes a time: `2026-11-22T18:00:00Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Moment = Annotated[datetime, PlainSerializer(moment, when_used="json")]


class Answer(Part):
    """Base of the parts of a status."""

    model_config = ConfigDict(extra="ignore")


class Condition(Answer):
    """One fact, in the shape of metav1.Condition."""

    type: Literal["Accepted", "Progressing", "Suspended", "Complete", "Failed"]
    """Which fact."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str = Field(min_length=1, max_length=64)
    """Why, as one word for machines."""
    message: str = Field("", max_length=4096)
    """Why, for people."""
    last_transition_time: Moment
    """When `status` changed last."""
    observed_generation: int = Field(0, ge=0)
    """Of the resource it was found for."""


class LastError(Answer):
    """Why a stage failed last."""

    cause: Cause
    """What kind of failure. config, data and notFinite are never tried again."""
    exit_code: int | None = None
    """Of the container; absent if it never ran, or its node was lost."""
    message: str = Field("", max_length=4096)
    """What failed and its last words."""
    node: str = Field("", max_length=253)
    """Where; empty if it never had a node, or all failed together."""
    time: Moment
    """When it was seen."""


class StageStatus(Answer):
    """Where one stage stands."""

    name: StageName
    """Which stage."""
    state: State = "Waiting"
    """Waiting: for those before it. Pending: its job is to be made, or waits for nodes. BackOff: until `retryTime`.
    Cancelled: another one failed."""
    attempts: int = Field(0, ge=0)
    """Jobs so far."""
    job_name: str = Field("", max_length=63)
    """The Volcano job of the newest attempt. `torchx status kubernetes://torchx/<namespace>:<jobName>` tells more."""
    done: int = Field(0, ge=0)
    """Captions, images or steps that are finished."""
    total: int | None = Field(None, ge=0)
    """How many there will be."""
    shards: int = Field(0, ge=0)
    """Committed units of captions or images."""
    rate: float | None = Field(None, ge=0)
    """Of `done`, per second."""
    start_time: Moment | None = None
    """When its first job was asked for."""
    completion_time: Moment | None = None
    """When it succeeded or failed for good."""
    retry_time: Moment | None = None
    """When it is tried again."""
    step_seconds: float | None = Field(None, ge=0)
    """Median time between two advances of `done`."""
    redone_seconds: float = Field(0.0, ge=0)
    """Time of pretraining steps that had to be done again, after a restart or a rollback: so many as `done` fell,
    at the median step time before."""
    progress_time: Moment | None = None
    """When `done` advanced last, or this attempt began to count."""
    running_since: Moment | None = None
    """Since when its job runs; absent while none does."""
    running_seconds: int = Field(0, ge=0)
    """How long its jobs ran before that."""
    failed: int = Field(0, ge=0)
    """Failures that count, since the start; those within the window are in `failures`."""
    save_seconds: float | None = Field(None, ge=0)
    """What the last checkpoint took."""
    checkpoint_seconds: float | None = Field(None, ge=0)
    """Seconds between checkpoints that the newest attempt was given; absent if it goes by its config."""
    spares: int = Field(0, ge=0)
    """Hot spares that are held now."""
    avoids: tuple[str, ...] = Field((), max_length=32)
    """Nodes that the newest attempt is kept from: the suspects when it was made."""
    sync_time: Moment | None = None
    """When Volcano was last asked to look again at this attempt's job, which has no pods."""
    hang_time: Moment | None = None
    """Since when this attempt is found to hang; its pods are asked to write their stacks and end."""
    failures: tuple[Moment, ...] = Field((), max_length=101)
    """Counted failures within the window of the failure policy."""
    last_error: LastError | None = None
    """Why it failed last."""


class Restarts(Answer):
    """How often stages were started again for one cause."""

    cause: Cause
    """Which."""
    count: int = Field(ge=0)
    """How often."""


class Evaluation(Answer):
    """A number that an evaluation gave."""

    name: str = Field(max_length=128)
    """`evaluator/encoder`, as `knn/synclr`; `random_init` and `raw_pixels` are baselines."""
    metric: str = Field(max_length=128)
    """`<task>_top1`: share of the test images whose label of this task is found, percent."""
    value: float = Field(allow_inf_nan=False)
    """The number."""


class NodeFailure(Answer):
    """An attempt that failed on a node."""

    node: str = Field(max_length=253)
    """Which."""
    stage: StageName
    """Of which stage."""
    time: Moment
    """When it was seen."""


class Suspect(Answer):
    """A node that the next attempts avoid."""

    node: str = Field(max_length=253)
    """Which."""
    until: Moment
    """How long."""
    reason: str = Field("", max_length=1024)
    """Why."""


_MAP: Final = "map"


class Status(Answer):
    """Where a run stands."""

    observed_generation: int = Field(0, ge=0)
    """Of the spec that this answers."""
    phase: Phase = "Pending"
    """In one word."""
    stage: str = Field("", max_length=128)
    """The stages that are at work; of a run that is suspended or failed, those that it stopped at."""
    progress: str = Field("", max_length=64)
    """Of the last of these that counts."""
    images_per_second: float | None = Field(None, ge=0)
    """Rate of the image stage while it works."""
    eta: str = Field("", max_length=32)
    """Time left for the last stage at work, at its present rate."""
    start_time: Moment | None = None
    """When the run started: from then on the spec is fixed, except for what may change at any time."""
    completion_time: Moment | None = None
    """When it ended, either way."""
    suspend_time: Moment | None = None
    """When it was suspended; absent if it is not."""
    suspended_seconds: int = Field(0, ge=0)
    """How long it was suspended before."""
    busy_since: Moment | None = None
    """Since when some stage's job runs; absent while none does."""
    busy_seconds: int = Field(0, ge=0)
    """How long some stage's job ran before that."""
    goodput: float | None = Field(None, ge=0, le=1)
    """Productive time as a share of the time since the start, without suspensions. Productive is the time in which some
    stage's job ran, without that of pretraining steps which had to be done again (`redoneSeconds`)."""
    replicas: int = Field(0, ge=0)
    """Running workers of the image stage, for the scale subresource."""
    selector: str = Field("", max_length=512)
    """Label selector of these workers, for autoscalers."""
    tracking_uri: str = Field("", max_length=1024)
    """MLflow, where the run is recorded."""
    tracking_url: str = Field("", max_length=2048)
    """The run in MLflow's pages; empty until a stage has told which it is, and where `trackingUri` serves no pages."""
    conditions: tuple[Condition, ...] = Field(
        (), json_schema_extra={"x-kubernetes-list-type": _MAP, "x-kubernetes-list-map-keys": ["type"]}
    )
    """Facts."""
    stages: tuple[StageStatus, ...] = Field(
        (), json_schema_extra={"x-kubernetes-list-type": _MAP, "x-kubernetes-list-map-keys": ["name"]}
    )
    """One per stage, in the order of the work."""
    restarts: tuple[Restarts, ...] = Field(
        (), json_schema_extra={"x-kubernetes-list-type": _MAP, "x-kubernetes-list-map-keys": ["cause"]}
    )
    """By cause."""
    evaluations: tuple[Evaluation, ...] = Field(
        (),
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": _MAP, "x-kubernetes-list-map-keys": ["name", "metric"]},
    )
    """What the encoder is good for, the trained one first; all numbers are in MLflow and in the storage."""
    suspects: tuple[Suspect, ...] = Field(
        (), max_length=32, json_schema_extra={"x-kubernetes-list-type": _MAP, "x-kubernetes-list-map-keys": ["node"]}
    )
    """Nodes that are avoided for a while, because attempts failed on them."""
    node_failures: tuple[NodeFailure, ...] = Field((), max_length=32)
    """Failures within the window on nodes that are not suspect yet."""
    resolved: dict[str, Any] | None = Field(None, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    """The configs and container images that the run goes by, fixed at its start, whatever recipes say later."""


def written(status: Status) -> dict[str, Any]:
    """A status as it stands in the resource: what is empty, zero or not known is left out.

    Kept are the words that a stage and a run always have, and conditions, in which `message` is required of metav1.
    """
    tree: dict[str, Any] = json.loads(status.model_dump_json(by_alias=True, exclude_defaults=True))
    whole = json.loads(status.model_dump_json(by_alias=True, exclude_none=True, include={"conditions"}))
    states = [{"name": stage.name, "state": stage.state} for stage in status.stages]
    tree |= {key: value for key, value in whole.items() if value}
    if states:
        tree["stages"] = [state | rest for state, rest in zip(states, tree["stages"], strict=True)]
    return {"phase": status.phase, **tree}
