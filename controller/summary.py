"""A status at a glance: phase, stage, progress, time left, goodput. All of it follows from the stages."""

from datetime import datetime

from controller.observed import Observed
from controller.render import RUN, STAGE, job_name
from controller.stages import AT_WORK
from controller.status import Phase, StageStatus, Status


def with_summary(
    status: Status, observed: Observed, now: datetime, *, accepted: bool, failed: str, suspended: bool
) -> Status:
    """The status with what `kubectl get` shows."""
    working = at(status)
    told = next((stage for stage in reversed(working) if stage.total), None)
    image = next((stage for stage in status.stages if stage.name == "image"), None)
    painters = observed.job(job_name(observed.owner, "image", image.attempts)) if image and image.attempts else None
    summed = status.model_copy(
        update={
            "phase": phase(status, accepted=accepted, failed=failed, suspended=suspended),
            "stage": ",".join(stage.name for stage in working),
            "progress": progress(told) if told else "",
            "eta": eta(told) if told else "",
            "images_per_second": image.rate if image and image.state == "Running" else None,
            "replicas": painters.running if painters and not (painters.ended or status.completion_time) else 0,
            "selector": f"{RUN}={observed.owner.name},{STAGE}=image",
        }
    )
    return _with_goodput(_with_busy(summed, now), observed.status, now)


def at(status: Status) -> list[StageStatus]:
    """The stages at work; of a run in which none is any more, those that it stopped at."""
    for states in (AT_WORK, {"Suspended"}, {"Failed"}, {"Cancelled"}):
        if found := [stage for stage in status.stages if stage.state in states and stage.attempts]:
            return found
    return []


def phase(status: Status, *, accepted: bool, failed: str, suspended: bool) -> Phase:
    """In one word."""
    if status.completion_time:
        return "Failed" if failed else "Succeeded"
    if not accepted:
        return "Invalid"
    if suspended:
        return "Suspended"
    states = {stage.state for stage in status.stages}
    return "Running" if "Running" in states else "Restarting" if "BackOff" in states else "Pending"


def progress(stage: StageStatus) -> str:
    """`128/1024 (12 %)`."""
    assert stage.total, "only what can be counted has a progress"
    return f"{stage.done}/{stage.total} ({100 * stage.done // stage.total} %)"


def eta(stage: StageStatus) -> str:
    """Time left at the present rate: `04:16`, `1:02:05`, `3d04h`; empty if it is not known."""
    if not stage.rate or stage.total is None:
        return ""
    seconds = round((stage.total - stage.done) / stage.rate)
    if seconds >= 86400:
        return f"{seconds // 86400}d{seconds % 86400 // 3600:02}h"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _with_busy(status: Status, now: datetime) -> Status:
    """Counts the time in which some job runs, from one change to the next."""
    busy = not status.completion_time and any(stage.state == "Running" for stage in status.stages)
    if busy == (status.busy_since is not None):
        return status
    if busy:
        return status.model_copy(update={"busy_since": now})
    return status.model_copy(update={"busy_since": None, "busy_seconds": busy_seconds(status, now)})


def busy_seconds(status: Status, now: datetime) -> int:
    """Seconds in which some stage's job ran."""
    since = status.busy_since
    return status.busy_seconds + (max(0, int((now - since).total_seconds())) if since else 0)


def _with_goodput(status: Status, before: Status, now: datetime) -> Status:
    """Said anew only when something else is, or each look would be a change.

    goodput = (time in which some job ran - time of pretraining steps done again) / (time since the start - suspensions)
    """
    if status.start_time is None or status == before:
        return status
    until = status.suspend_time or now
    age = (until - status.start_time).total_seconds() - status.suspended_seconds
    productive = busy_seconds(status, now) - sum(stage.redone_seconds for stage in status.stages)
    share = min(1.0, max(0.0, productive) / age) if age > 0 else None
    return status.model_copy(update={"goodput": None if share is None else round(share, 3)})
