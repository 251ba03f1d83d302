"""Whether a stage hangs: its pods answer, and for long they have told no progress.

A pod that does not answer tells nothing: it may load a model, wait for its peers, or be out of the controller's reach.
A node that is lost is Kubernetes' to notice. So only an answer that says "nothing moved" counts, never a silence.

moves ──an answer after `allowed` seconds without progress──▶ hangTime: the pods are asked to write their stacks and end
                                                               │
                              it fails with cause `hang` ◀──all pods ended, or PATIENCE is over──┘
"""

from datetime import datetime, timedelta
from typing import Final

from controller.observed import Report
from controller.resource import FailurePolicy
from controller.status import LastError, StageStatus

PATIENCE: Final = timedelta(seconds=60)
"""For the pods to write their stacks and end by themselves. A job that is then still there is deleted."""
_JITTER: Final = timedelta(seconds=2)  # an age that is told twice gives nearly the same moment
_POLL: Final = timedelta(seconds=15)  # until an answer may be there that is new enough


def allowed(stage: StageStatus, policy: FailurePolicy) -> timedelta:
    """The longest time without progress."""
    return timedelta(seconds=max(policy.hang_seconds, policy.hang_factor * (stage.step_seconds or 0.0)))


def moved(stage: StageStatus, report: Report) -> StageStatus:
    """With the heartbeat of a report. Of several workers the one that moved last counts."""
    when = report.heard - timedelta(seconds=report.age) if report.heard else None
    if when is None or report.attempt != stage.attempts:
        return stage
    last = stage.progress_time
    newest = when.replace(microsecond=0) if last is None or when > last + _JITTER else last
    return stage.model_copy(update={"progress_time": newest, "step_seconds": report.step or stage.step_seconds})


def found(stage: StageStatus, report: Report | None, since: datetime | None, policy: FailurePolicy) -> bool:
    """Whether the last answer says that it hangs.

    Args:
        stage: with the heartbeat of the report.
        report: the last one.
        since: when all that it works on was there; None: it may wait for that.
        policy: how long it may stand still.
    """
    if not (policy.hang_seconds and report and report.heard and since and stage.progress_time):
        return False
    return report.attempt == stage.attempts and report.heard - max(since, stage.progress_time) > allowed(stage, policy)


def goes_on(stage: StageStatus) -> bool:
    """Whether it has moved since it was found to hang."""
    return bool(stage.hang_time and stage.progress_time and stage.progress_time > stage.hang_time)


def error(stage: StageStatus, policy: FailurePolicy, now: datetime) -> LastError:
    """What is said of a stage that hangs."""
    assert stage.progress_time is not None, "what never told its progress cannot be found to hang"
    median = f", where the median step takes {stage.step_seconds:.3g} s" if stage.step_seconds else ""
    message = (
        f"no progress for {(now - stage.progress_time).total_seconds():.0f} s at {stage.done}"
        f"{f'/{stage.total}' if stage.total else ''}{median} (failurePolicy.hangSeconds {policy.hang_seconds}); "
        "the stacks are in the logs of its pods"
    )
    return LastError(cause="hang", message=message, time=now)


def next_look(stage: StageStatus, policy: FailurePolicy, now: datetime) -> datetime | None:
    """When time alone may change what is known of it."""
    if stage.state != "Running" or not policy.hang_seconds or stage.progress_time is None:
        return None
    if stage.hang_time:
        return stage.hang_time + PATIENCE
    due = stage.progress_time + allowed(stage, policy)
    return due if due > now else now + _POLL
