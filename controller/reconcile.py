"""What to do about a resource: a pure function of what is observed and the time. It is level-triggered: what happened
in between does not matter, and to decide twice is to decide once.

    observed ──advance──▶ status as it should be ──what differs──▶ actions

The status is the memory. It is written before anything else is done, under the condition that nobody changed the
resource since it was observed; so a decision on old news is dropped, and a controller that dies between two actions is
followed by one that finds the status and does the rest.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from config import ConfigError
from controller import intervals, overlooked, suspects
from controller.actions import (
    Action,
    AddFinalizer,
    CreateJob,
    DeleteJob,
    DeleteRun,
    Emit,
    EndHung,
    RemoveFinalizer,
    ScaleJob,
    SyncJob,
    Wait,
    WriteStatus,
)
from controller.conditions import with_conditions
from controller.hang import next_look
from controller.observed import Observed
from controller.render import ELASTIC, Owner, job_name, render
from controller.resolve import Resolved, load, resolve
from controller.resource import Spec
from controller.stages import ACTIVE, OVER, Step, fed, may_start, step
from controller.status import Restarts, StageName, StageStatus, Status
from controller.summary import with_summary

_STILL: Final[dict[str, object]] = {
    "rate": None,
    "retry_time": None,
    "sync_time": None,
    "hang_time": None,
    "spares": 0,
}  # of a stage that nothing is done for


def reconcile(observed: Observed, now: datetime) -> tuple[Action, ...]:
    """The actions, in order. Empty: all is as it should be, and only a change of something else matters.

    Args:
        observed: the resource and what it owns.
        now: the time, aware, in whole seconds.
    """
    if observed.deleting:
        return _delete(observed)
    if not observed.finalizer:
        return (AddFinalizer(),)
    if observed.status.completion_time:
        return _finished(observed, now)
    status = advance(observed, now)
    try:
        jobs = tuple(_create(observed, status))
    except ConfigError as error:
        status, jobs = _end(observed, status, "ConfigError", str(error), now), ()
    written = (WriteStatus(status),) if status != observed.status else ()
    after = (
        *_hangs(observed.status, status),
        *_sync(observed.status, status),
        *_scale(observed, status),
        *_spares(observed, status),
        *_stop(observed, status),
        *_emit(observed.status, status),
        *_wait(observed, status, now),
    )
    return (*written, *jobs, *after)


def advance(observed: Observed, now: datetime) -> Status:
    """The status that follows from what is observed."""
    status = observed.status
    try:
        if observed.spec is None:
            raise ConfigError(observed.invalid)
        if status.start_time is None:
            return _start(observed, observed.spec, now)
        resolved = load(status.resolved or {})
    except ConfigError as error:
        return _invalid(observed, str(error), now)
    return _go_on(observed, observed.spec, resolved, now)


def _start(observed: Observed, spec: Spec, now: datetime) -> Status:
    """Fixes what the run goes by. A spec that cannot work is refused before anything runs.

    Raises:
        ConfigError: a config that its stage would refuse, or nodes that cannot hold a job.
    """
    resolved = resolve(spec)
    for stage in resolved.stages:
        render(observed.owner, stage, 1, spec, resolved)
    if spec.suspend:
        return _settled(observed, observed.status, now, accepted="Valid")
    stages = tuple(StageStatus(name=name, total=total(name, resolved)) for name in resolved.stages)
    started = observed.status.model_copy(
        update={
            "start_time": now,
            "stages": stages,
            "resolved": resolved.model_dump(mode="json"),
            "tracking_uri": resolved.pretrain.tracking.uri if resolved.pretrain.tracking.enabled else "",
        }
    )
    return _go_on(replace(observed, status=started), spec, resolved, now)


def total(stage: StageName, resolved: Resolved) -> int | None:
    """How much a stage has to do: captions, images or steps; None where there is nothing to count."""
    captions = resolved.generate.caption.count
    totals = {
        "caption": captions,
        "image": captions * resolved.generate.image.per_caption,
        "pretrain": resolved.pretrain.schedule.steps,
    }
    return totals.get(stage)


def _go_on(observed: Observed, spec: Spec, resolved: Resolved, now: datetime) -> Status:
    status = suspects.forgiven(_suspended_or_resumed(observed.status, spec, now), now)
    if spec.active_deadline_seconds is not None and active(status, now) >= spec.active_deadline_seconds:
        message = f"not done within {spec.active_deadline_seconds} s (activeDeadlineSeconds)"
        return _end(observed, status, "DeadlineExceeded", message, now)
    status = _linked(status, observed)
    for job in observed.jobs:
        if job.results:
            status = status.model_copy(update={"evaluations": job.results})
    stages = {stage.name: stage for stage in status.stages}
    for name in resolved.stages:
        before = stages[name]
        one = _one_step(observed, spec, resolved, stages, name, now)
        named = intervals.timed(_named(observed.owner, one.stage), now)
        stages[name] = _placed(named, before, status, spec, resolved, now)
        status = status.model_copy(update={"stages": tuple(stages.values())})
        if one.restarted:
            status = _counted(status, one)
            status = suspects.after_failure(status, name, one.restarted, spec.failure_policy, now)
        if one.failed:
            return _end(observed, status, one.failed, f"{name}: {one.message}", now)
    if all(stage.state == "Succeeded" for stage in stages.values()):
        return _end(observed, status, "", "", now)
    return _settled(observed, status, now, accepted="Valid")


def _linked(status: Status, observed: Observed) -> Status:
    """With the run's page in MLflow, once a stage has told which one it is."""
    path = next((told.recorded for told in observed.reports.values() if told.recorded), "")
    if status.tracking_url or not path or not status.tracking_uri.startswith("http"):
        return status
    return status.model_copy(update={"tracking_url": f"{status.tracking_uri.rstrip('/')}/#/{path}"})


def _one_step(
    observed: Observed,
    spec: Spec,
    resolved: Resolved,
    stages: dict[StageName, StageStatus],
    name: StageName,
    now: datetime,
) -> Step:
    stage = stages[name]
    own = {job_name(observed.owner, name, attempt) for attempt in range(1, stage.attempts + 1)}
    job = observed.job(stage.job_name) if stage.job_name else None
    if spec.suspend and not (stage.state in ACTIVE and job and job.ended):
        held = stage.state in ("Waiting", *OVER)
        return Step(stage if held else stage.model_copy(update=_STILL | {"state": "Suspended"}))
    return step(
        stage,
        job,
        observed.reports.get(name),
        start=may_start(name, stages, resolved),
        busy=any(one.alive or not one.ended for one in observed.jobs if one.name in own),
        fed=fed(name, stages),
        spare=name == "pretrain" and spec.pretrain.spares > 0,
        policy=spec.failure_policy,
        now=now,
    )


def _suspended_or_resumed(status: Status, spec: Spec, now: datetime) -> Status:
    if spec.suspend and status.suspend_time is None:
        return status.model_copy(update={"suspend_time": now})
    if not spec.suspend and status.suspend_time is not None:
        seconds = int((now - status.suspend_time).total_seconds())
        return status.model_copy(
            update={"suspend_time": None, "suspended_seconds": status.suspended_seconds + max(0, seconds)}
        )
    return status


def active(status: Status, now: datetime) -> float:
    """Seconds since the start, without those suspended."""
    assert status.start_time is not None, "a run that has not started has no age"
    until = status.suspend_time or now
    return max(0.0, (until - status.start_time).total_seconds() - status.suspended_seconds)


def _named(owner: Owner, stage: StageStatus) -> StageStatus:
    name = job_name(owner, stage.name, stage.attempts) if stage.attempts else ""
    return stage.model_copy(update={"job_name": name})


def _placed(
    stage: StageStatus, before: StageStatus, status: Status, spec: Spec, resolved: Resolved, now: datetime
) -> StageStatus:
    """A new attempt avoids the suspects of its time, and saves as often as the attempts before it tell. One that still
    waits when a suspicion is over is made anew."""
    if stage.attempts > before.attempts:
        every = intervals.checkpoint_seconds(stage, spec.pretrain.nodes, resolved.pretrain.checkpoint)
        return stage.model_copy(update={"avoids": suspects.names(status), "checkpoint_seconds": every})
    if suspects.outlived(stage, status):
        return stage.model_copy(update={"state": "BackOff", "retry_time": now})
    return stage


def _counted(status: Status, one: Step) -> Status:
    """With one more restart for its cause."""
    assert one.restarted is not None
    counts = {entry.cause: entry.count for entry in status.restarts}
    counts[one.restarted.cause] = counts.get(one.restarted.cause, 0) + 1
    entries = tuple(Restarts(cause=cause, count=count) for cause, count in sorted(counts.items()))
    return status.model_copy(update={"restarts": entries})


def _end(observed: Observed, status: Status, failed: str, message: str, now: datetime) -> Status:
    """The status of a run that is over: `failed` is the reason, empty if it succeeded."""
    stages = tuple(
        intervals.timed(stage if stage.state in OVER else stage.model_copy(update=_STILL | {"state": "Cancelled"}), now)
        for stage in status.stages
    )
    over = status.model_copy(update={"completion_time": now, "stages": stages})
    return _settled(observed, over, now, accepted="Valid", failed=failed, message=message)


def _invalid(observed: Observed, message: str, now: datetime) -> Status:
    """A spec that cannot work, which may still be mended; or, after the start, one that this release cannot read.

    Then what runs goes on: a controller that was rolled back must not end the runs of its successor.
    """
    accepted = "ConfigError" if observed.status.start_time is None else "Unreadable"
    return _settled(observed, observed.status, now, accepted=accepted, message=message)


def _settled(
    observed: Observed, status: Status, now: datetime, *, accepted: str, failed: str = "", message: str = ""
) -> Status:
    """With all that follows from the rest: summary, conditions, generation."""
    suspended = observed.spec is not None and observed.spec.suspend
    settled = with_summary(
        status, observed, now, accepted=accepted != "ConfigError", failed=failed, suspended=suspended
    )
    settled = settled.model_copy(update={"observed_generation": observed.generation})
    return with_conditions(settled, now, accepted=accepted, failed=failed, message=message)


def _delete(observed: Observed) -> tuple[Action, ...]:
    """Jobs first, then the finalizer: a resource that is gone has left nothing."""
    if not observed.finalizer:
        return ()
    ends = tuple(DeleteJob(job.name) for job in observed.jobs if not job.deleting)
    return ends if observed.jobs else (RemoveFinalizer(),)


def _finished(observed: Observed, now: datetime) -> tuple[Action, ...]:
    """Nothing is done about a run that is over, but to end what still runs of it, and itself when its time has come."""
    ends = tuple(_stop(observed, observed.status))
    ttl = observed.spec.ttl_seconds_after_finished if observed.spec else None
    if ttl is None or observed.status.completion_time is None:
        return ends
    left = (observed.status.completion_time + timedelta(seconds=ttl) - now).total_seconds()
    return (*ends, Wait(left) if left > 0 else DeleteRun())


def _create(observed: Observed, status: Status) -> Iterator[Action]:
    """Jobs that should be there and are not.

    Raises:
        LaunchError: one cannot be made any more, as when its node pool is gone.
    """
    if observed.spec is None or not status.resolved or status.completion_time:
        return
    for stage in status.stages:
        if stage.state in ACTIVE and observed.job(stage.job_name) is None:
            resolved = load(status.resolved)
            resolved = intervals.told(resolved, stage)
            made = render(observed.owner, stage.name, stage.attempts, observed.spec, resolved, stage.avoids)
            yield CreateJob(made)


def _scale(observed: Observed, status: Status) -> Iterator[Action]:
    """Workers that were asked for since their job was made."""
    for stage in status.stages:
        job = observed.job(stage.job_name)
        if (
            observed.spec
            and stage.name in ELASTIC
            and stage.state in ACTIVE
            and job
            and not (job.ended or job.deleting)
        ):
            wanted = getattr(observed.spec, stage.name).replicas
            if wanted != job.replicas:
                yield ScaleJob(job.name, wanted)


def _spares(observed: Observed, status: Status) -> Iterator[Action]:
    """Hot spares that should be held, as the whole gang runs, or that make room for one of it."""
    for stage in status.stages:
        job = observed.job(stage.job_name)
        if not (observed.spec and job and stage.state in ACTIVE) or job.spares is None or job.ended or job.deleting:
            continue
        whole = job.running >= job.replicas
        # Nobody is left: all are done, and Volcano missed it, or the only one is about to be made anew.
        over = job.waiting or not job.alive
        wanted = 0 if over else observed.spec.pretrain.spares if whole else job.spares
        if wanted != job.spares:
            yield ScaleJob(job.name, wanted, task=1)


def _stop(observed: Observed, status: Status) -> Iterator[Action]:
    """Jobs that should not run: of stages that are suspended or over, and of earlier attempts."""
    wanted = {stage.job_name for stage in status.stages if stage.state in ACTIVE}
    for job in observed.jobs:
        if job.name not in wanted and not job.ended and not job.deleting:
            yield DeleteJob(job.name)


def _hangs(before: Status, after: Status) -> Iterator[Action]:
    """Stages that are found to hang now. Should the controller end before they are asked, their jobs are deleted."""
    known = {stage.name for stage in before.stages if stage.hang_time}
    for stage in after.stages:
        if stage.hang_time and stage.name not in known and stage.last_error:
            yield EndHung(stage.name)
            yield Emit("Warning", "StageHangs", f"{stage.name}: {stage.last_error.message}"[:1024])


def _sync(before: Status, after: Status) -> Iterator[Action]:
    """Jobs that Volcano may have overlooked."""
    known = {stage.name: stage.sync_time for stage in before.stages}
    for stage in after.stages:
        if stage.sync_time and stage.sync_time != known[stage.name]:
            yield SyncJob(stage.job_name)


def _emit(before: Status, after: Status) -> Iterator[Action]:
    """What changed, for people."""
    was = {stage.name: stage for stage in before.stages}
    for stage in after.stages:
        if stage.state == (was[stage.name].state if stage.name in was else "Waiting"):
            continue
        error = f": {stage.last_error.cause}: {stage.last_error.message}" if stage.last_error else ""
        match stage.state:
            case "BackOff" | "Failed":
                yield Emit("Warning", f"Stage{stage.state}", f"{stage.name}{error}"[:1024])
            case "Pending" | "Succeeded" | "Suspended":
                attempt = f", attempt {stage.attempts}" if stage.state == "Pending" else ""
                yield Emit("Normal", f"Stage{stage.state}", f"{stage.name}{attempt}")
    if before.phase != after.phase and after.phase in ("Invalid", "Failed", "Succeeded"):
        told = " ".join(one.message for one in after.conditions if one.type in ("Accepted", "Failed")).strip()
        yield Emit("Normal" if after.phase == "Succeeded" else "Warning", after.phase, told[:1024])


def _wait(observed: Observed, status: Status, now: datetime) -> Iterator[Action]:
    """Until the next moment at which time alone changes something."""
    moments = [stage.retry_time for stage in status.stages if stage.retry_time]
    spec = observed.spec
    moments += [one.until for one in status.suspects if not status.completion_time]
    if spec and not status.completion_time:
        looks = [next_look(stage, spec.failure_policy, now) for stage in status.stages]
        looks += [overlooked.due(stage, observed.job(stage.job_name)) for stage in status.stages]
        moments += [look for look in looks if look]
    if (
        spec
        and spec.active_deadline_seconds is not None
        and status.start_time
        and not (status.suspend_time or status.completion_time)
    ):
        moments.append(now + timedelta(seconds=spec.active_deadline_seconds - active(status, now)))
    if spec and spec.ttl_seconds_after_finished is not None and status.completion_time:
        moments.append(status.completion_time + timedelta(seconds=spec.ttl_seconds_after_finished))
    if moments:
        yield Wait(max(1.0, (min(moments) - now).total_seconds()))
