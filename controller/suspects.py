"""Nodes that are left out for a while, because attempts of a stage failed on them again and again.

Only failures that a node can be the cause of count: a signal, a crash, the loss of the node itself. Which pod failed
first tells the node; of a gang that hangs nobody knows that. A suspicion ends by itself: a node may have been mended,
and a bug of ours that looks like a bad node must not leave a run without any.
"""

from datetime import datetime, timedelta
from typing import Final

from controller.resource import FailurePolicy
from controller.status import Cause, LastError, NodeFailure, StageName, StageStatus, Status, Suspect

BLAMED: Final[frozenset[Cause]] = frozenset({"crash", "signal", "node"})
MOST: Final = 32  # suspects, and failures that are remembered: a cluster of which more is bad needs a person


def after_failure(status: Status, stage: StageName, error: LastError, policy: FailurePolicy, now: datetime) -> Status:
    """The status with the failure of an attempt: its node is a suspect once there were enough."""
    if not (policy.suspect_failures and error.node and error.cause in BLAMED):
        return status
    window = timedelta(seconds=policy.window_seconds)
    recent = [one for one in status.node_failures if now - one.time < window]
    recent.append(NodeFailure(node=error.node, stage=stage, time=now))
    count = sum((one.node, one.stage) == (error.node, stage) for one in recent)
    if count < policy.suspect_failures:
        return status.model_copy(update={"node_failures": tuple(recent[-MOST:])})
    reason = f"{count} attempts of {stage} failed on it within {policy.window_seconds} s; the last: {error.message}"
    until = now + timedelta(seconds=policy.suspect_seconds)
    others = [one for one in status.suspects if one.node != error.node]
    suspects = (*others, Suspect(node=error.node, until=until, reason=reason[:1024]))[-MOST:]
    left = tuple(one for one in recent if one.node != error.node)[-MOST:]  # afterwards it starts anew
    return status.model_copy(update={"suspects": suspects, "node_failures": left})


def forgiven(status: Status, now: datetime) -> Status:
    """The status without suspicions that are over."""
    left = tuple(one for one in status.suspects if one.until > now)
    return status if left == status.suspects else status.model_copy(update={"suspects": left})


def names(status: Status) -> tuple[str, ...]:
    """The nodes to avoid now, in the order of the alphabet."""
    return tuple(sorted(one.node for one in status.suspects))


def outlived(stage: StageStatus, status: Status) -> bool:
    """Whether an attempt waits for nodes and avoids one that nobody suspects any more: it may want that one."""
    return stage.state == "Pending" and bool(set(stage.avoids) - set(names(status)))
