"""Why a job failed, whether that counts, and how long to wait: the exit codes of config/errors.py as a policy.

| cause            | exit code            | tried again | counts |
|------------------|----------------------|-------------|--------|
| config           | 64                   | never       |        |
| data             | 65                   | never       |        |
| notFinite        | 77                   | never       |        |
| retryable        | 75                   | yes         | yes    |
| hang             | 76                   | yes         | yes    |
| preempted        | 143                  | yes         | no     |
| deleted          | the job is gone      | yes         | no     |
| signal           | 128 + a signal, else | yes         | yes    |
| node             | none: the node ended | yes         | yes    |
| crash            | any other            | yes         | yes    |

"""

from datetime import datetime, timedelta
from typing import Final

from config.errors import ConfigError, DataError, HangError, NotFiniteError, RetryableError, Stopped
from controller.observed import Failure, Job
from controller.resource import FailurePolicy
from controller.status import Cause, LastError

CAUSES: Final[dict[int, Cause]] = {
    ConfigError.exit_code: "config",
    DataError.exit_code: "data",
    NotFiniteError.exit_code: "notFinite",
    RetryableError.exit_code: "retryable",
    HangError.exit_code: "hang",
    Stopped.exit_code: "preempted",
}
NEVER_AGAIN: Final[frozenset[Cause]] = frozenset({"config", "data", "notFinite"})
FREE: Final[frozenset[Cause]] = frozenset({"preempted", "deleted"})
REASONS: Final[dict[Cause, str]] = {"config": "ConfigError", "data": "DataError", "notFinite": "NotFinite"}


def cause_of(exit_code: int | None) -> Cause:
    """The cause that an exit code tells."""
    if exit_code is None:
        return "node"
    return CAUSES.get(exit_code, "signal" if 128 < exit_code < 160 else "crash")


def error_of(job: Job, now: datetime) -> LastError:
    """Why a job failed: what can never work if any pod says so, else the pod that ended first. Others may have failed
    only for want of it; they say `retryable` where they could tell."""
    if not job.failures:
        # Only our policies for what is never tried again terminate a job.
        cause: Cause = "config" if job.phase == "Terminated" else "crash"
        return LastError(cause=cause, message=job.message or f"Volcano says {job.phase}, and no pod is left", time=now)

    def rank(one: Failure) -> tuple[bool, bool, datetime]:
        cause = cause_of(one.exit_code)
        return cause not in NEVER_AGAIN, cause == "retryable", one.finished or now

    first = min(job.failures, key=rank)
    return LastError(
        cause=cause_of(first.exit_code),
        exit_code=first.exit_code,
        message=first.message[:4096],
        node=first.node,
        time=now,
    )


def within(failures: tuple[datetime, ...], policy: FailurePolicy, now: datetime) -> tuple[datetime, ...]:
    """The failures that are not yet forgiven."""
    return tuple(time for time in failures if now - time < timedelta(seconds=policy.window_seconds))


def backoff(counted: int, policy: FailurePolicy) -> timedelta:
    """The wait after so many counted failures in the window: doubles with each, up to the longest."""
    doublings = min(max(counted - 1, 0), 30)
    return timedelta(seconds=min(policy.backoff_seconds * 2**doublings, policy.max_backoff_seconds))
