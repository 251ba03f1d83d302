"""How one stage goes on: a pure function of its status, its job and the stages before it.

Waiting ──may start──▶ Pending ──its job runs──▶ Running ──Completed──▶ Succeeded
                          ▲                        │
                          └──── BackOff ◀──Failed──┘──never again, or too often──▶ Failed
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from components.roles import ELASTIC
from controller import hang, overlooked
from controller.failures import FREE, NEVER_AGAIN, REASONS, backoff, error_of, within
from controller.observed import Job, Report
from controller.resolve import Resolved
from controller.resource import FailurePolicy
from controller.status import LastError, StageName, StageStatus

Stages = Mapping[StageName, StageStatus]

ACTIVE: Final = frozenset({"Pending", "Running"})  # has a job, or is to have one
AT_WORK: Final = ACTIVE | {"BackOff"}
AT_ONCE: Final = timedelta(seconds=1)  # times are whole seconds, and to decide twice is to decide once
OVER: Final = frozenset({"Succeeded", "Failed", "Cancelled"})


@dataclass(frozen=True)
class Step:
    """What becomes of a stage."""

    stage: StageStatus
    restarted: LastError | None = None
    """Why it is started again, if it is."""
    failed: str = ""
    """Reason, as one word, if it failed for good."""
    message: str = ""


def may_start(stage: StageName, stages: Stages, resolved: Resolved) -> bool:
    """Whether what a stage works on is there."""
    return _STARTS[stage](stages, resolved)


def _image(stages: Stages, resolved: Resolved) -> bool:
    caption = stages["caption"]
    return caption.shards >= 1 or caption.state == "Succeeded"


def _pretrain(stages: Stages, resolved: Resolved) -> bool:
    image, floor = stages["image"], resolved.pretrain.batch.start_shards
    return image.state == "Succeeded" or 0 < floor <= image.shards


def _evaluate(stages: Stages, resolved: Resolved) -> bool:
    return all(stages[name].state == "Succeeded" for name in ("pretrain", "render") if name in stages)


_STARTS: Final[Mapping[StageName, Callable[[Stages, Resolved], bool]]] = {
    "caption": lambda stages, resolved: True,
    "image": _image,
    "render": lambda stages, resolved: True,
    "pretrain": _pretrain,
    "evaluate": _evaluate,
}


def fed(stage: StageName, stages: Stages) -> datetime | None:
    """Since when all that a stage works on is there; None while it may have to wait for more. Pretraining takes the
    shards that are there when it starts; an evaluation counts too little to tell whether it moves."""
    if stage == "evaluate":
        return None
    return stages["caption"].completion_time if stage == "image" else stages[stage].start_time


def step(
    stage: StageStatus,
    job: Job | None,
    report: Report | None,
    *,
    start: bool,
    busy: bool,
    fed: datetime | None,
    spare: bool,
    policy: FailurePolicy,
    now: datetime,
) -> Step:
    """The stage after what is seen of it now.

    Args:
        stage: as it was.
        job: of its newest attempt.
        report: of its progress.
        start: what it works on is there.
        busy: pods of an earlier attempt have not ended; two attempts never work at once.
        fed: since when all that it works on is there; None: it may have to wait.
        spare: it has hot spares: where a node was lost there is another, so nothing is waited for.
        policy: what to do when it fails.
        now: the time.
    """
    made = _step(stage, job, start=start, busy=busy, policy=policy, now=now)
    if spare and made.restarted and made.restarted.cause == "node":
        made = replace(made, stage=_changed(made.stage, retry_time=now + AT_ONCE))
    same = made.stage.state in ACTIVE and made.stage.attempts == stage.attempts
    warm = job.warm if job and same else 0
    told = _changed(_progressed(made.stage, report), spares=warm)
    if same and (ask := overlooked.due(told, job)) and now >= ask:
        told = _changed(told, sync_time=now)
    if told.state != "Running":
        return replace(made, stage=told)
    return _watched(told, report, fed, policy, now)


def _watched(
    stage: StageStatus, report: Report | None, fed: datetime | None, policy: FailurePolicy, now: datetime
) -> Step:
    """A stage that runs, after a look at whether it moves."""
    if stage.hang_time is None:
        if not hang.found(stage, report, fed, policy):
            return Step(stage)
        return Step(_changed(stage, hang_time=now, last_error=hang.error(stage, policy, now)))
    if hang.goes_on(stage):
        return Step(_changed(stage, hang_time=None))
    if now - stage.hang_time < hang.PATIENCE:
        return Step(stage)
    return _failed(stage, hang.error(stage, policy, now), policy, now)


def _step(
    stage: StageStatus, job: Job | None, *, start: bool, busy: bool, policy: FailurePolicy, now: datetime
) -> Step:
    match stage.state:
        case "Waiting" if start:
            return Step(_next(stage, now))
        case "Suspended" if not busy:
            return Step(_next(stage, now))
        case "BackOff" if not busy and stage.retry_time and now >= stage.retry_time:
            return Step(_next(stage, now))
        case "Pending" | "Running":
            return _working(stage, job, policy, now)
    return Step(stage)


def _working(stage: StageStatus, job: Job | None, policy: FailurePolicy, now: datetime) -> Step:
    if job is None:
        return _gone(stage, policy, now) if stage.state == "Running" else Step(stage)
    if job.phase == "Completed":
        if stage.name == "evaluate" and job.alive:
            return Step(stage)  # its results come with its pod's end, of which this controller may hear later
        done = stage.total if stage.total is not None else stage.done
        return Step(_changed(stage, state="Succeeded", completion_time=now, done=done, rate=None))
    if job.phase == "Aborted":
        message = f"its job {job.name} was cancelled"
        return Step(
            _changed(stage, state="Failed", completion_time=now, rate=None), failed="Cancelled", message=message
        )
    if job.ended:
        return _failed(stage, _why(stage, job, policy, now), policy, now)
    first = job.failures and stage.hang_time is None and _remembered(stage, job) is None
    # Volcano deletes the pods of a gang before it fails. One that was evicted is made anew, and nothing failed.
    if first and stage.name not in ELASTIC and (error := error_of(job, now)).cause not in FREE:
        stage = _changed(stage, last_error=error)
    return Step(_changed(stage, state="Running", sync_time=None) if job.phase == "Running" else stage)


def _why(stage: StageStatus, job: Job, policy: FailurePolicy, now: datetime) -> LastError:
    """What its pods say; of one that was found to hang, they say only how it was ended."""
    said = error_of(job, now)
    if stage.hang_time is None:
        return said if job.failures else _remembered(stage, job) or said
    if said.cause in NEVER_AGAIN:
        return said
    found = hang.error(stage, policy, stage.hang_time)
    message = f"{found.message}; {said.message}"[:4096]
    return found.model_copy(update={"exit_code": said.exit_code, "message": message, "time": now})


def _remembered(stage: StageStatus, job: Job) -> LastError | None:
    """Why a pod of this job failed, if that was seen before."""
    error = stage.last_error
    known = error and job.created and error.time >= job.created and error.cause != "hang"
    return error if known else None


def _gone(stage: StageStatus, policy: FailurePolicy, now: datetime) -> Step:
    error = LastError(cause="deleted", message=f"its job {stage.job_name} was deleted", time=now)
    return _failed(stage, error, policy, now)


def _failed(stage: StageStatus, error: LastError, policy: FailurePolicy, now: datetime) -> Step:
    failures = within(stage.failures, policy, now) + (() if error.cause in FREE else (now,))
    failed = stage.failed + (error.cause not in FREE)
    stage = _changed(stage, last_error=error, failures=failures[-101:], failed=failed, rate=None)
    if error.cause in NEVER_AGAIN:
        return Step(
            _changed(stage, state="Failed", completion_time=now), failed=REASONS[error.cause], message=error.message
        )
    if len(failures) > policy.max_restarts:
        message = (
            f"{len(failures)} failures within {policy.window_seconds} s "
            f"(failurePolicy.maxRestarts {policy.max_restarts}); the last: {error.message}"
        )
        return Step(_changed(stage, state="Failed", completion_time=now), failed="CrashLoop", message=message)
    retry = now + backoff(len(failures), policy)
    return Step(_changed(stage, state="BackOff", retry_time=retry), restarted=error)


def _next(stage: StageStatus, now: datetime) -> StageStatus:
    """With another attempt, whose job is to be made."""
    return _changed(
        stage,
        state="Pending",
        attempts=stage.attempts + 1,
        start_time=stage.start_time or now,
        retry_time=None,
        progress_time=None,
        sync_time=None,
        hang_time=None,
    )


def _progressed(stage: StageStatus, report: Report | None) -> StageStatus:
    """With what a report says. Committed shards stay committed, whoever counts them; steps may be taken back."""
    if report is None or stage.state != "Running" or stage.name == "evaluate":
        return stage
    if stage.name == "pretrain":  # workers of the other stages count a little apart, and what is committed stays
        again = max(0, stage.done - report.done) * (stage.step_seconds or report.step or 0.0)
        redone = round(stage.redone_seconds + again, 1)
        stage = _changed(stage, redone_seconds=redone, save_seconds=report.save or stage.save_seconds)
    told = _changed(stage, done=report.done, shards=max(stage.shards, report.shards), rate=report.rate)
    return hang.moved(told, report)


def _changed(stage: StageStatus, **fields: object) -> StageStatus:
    return stage.model_copy(update=fields)
