"""The conditions of a status, in the shape of metav1.Condition: all of them always, and a time for each change."""

from datetime import datetime

from controller.status import Condition, Status


def with_conditions(status: Status, now: datetime, *, accepted: str, failed: str, message: str) -> Status:
    """The status with its facts.

    Args:
        status: with its phase.
        now: when a fact that changes changed.
        accepted: `Valid`, or why the spec is not accepted.
        failed: why the run failed, as one word; empty if it did not.
        message: of what went wrong.
    """
    phase, over = status.phase, status.completion_time is not None
    at_work = phase in ("Pending", "Running", "Restarting") and not over
    facts = {
        "Accepted": (accepted == "Valid", accepted, "" if accepted == "Valid" else message),
        "Progressing": (at_work, phase, _telling(status)),
        "Suspended": (phase == "Suspended", "Suspended" if phase == "Suspended" else "NotSuspended", ""),
        "Complete": (phase == "Succeeded", phase, ""),
        "Failed": (bool(failed), failed or "NotFailed", message if failed else ""),
    }
    before: dict[str, Condition] = {one.type: one for one in status.conditions}
    made = tuple(
        _condition(kind, before.get(kind), holds, reason, said, status.observed_generation, now)
        for kind, (holds, reason, said) in facts.items()
    )
    return status.model_copy(update={"conditions": made})


def _condition(
    kind: str, before: Condition | None, holds: bool, reason: str, message: str, generation: int, now: datetime
) -> Condition:
    value = "True" if holds else "False"
    since = before.last_transition_time if before and before.status == value else now
    tree = {
        "type": kind, "status": value, "reason": reason, "message": message[:4096],
        "last_transition_time": since, "observed_generation": generation,
    }  # fmt: skip
    return Condition.model_validate(tree)


def _telling(status: Status) -> str:
    """`image runs, pretrain waits to start again after crash`."""
    words = {"Pending": "waits for nodes", "Running": "runs", "BackOff": "waits to start again"}
    said = []
    for stage in status.stages:
        if stage.state in words:
            why = f" after {stage.last_error.cause}" if stage.state == "BackOff" and stage.last_error else ""
            said.append(f"{stage.name} {words[stage.state]}{why}")
    return ", ".join(said)
