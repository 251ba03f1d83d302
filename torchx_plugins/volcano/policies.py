"""What happens when a pod ends: the exit codes of config/errors.py as policies of a Volcano task.

| what                     | gang                                | worker                             | counts |
|--------------------------|-------------------------------------|------------------------------------|--------|
| 64, 65, 77               | the job ends, Terminated            | the same                           |        |
| 143, and the pod is      | only that pod is made anew; the     | only that pod is made anew         | no     |
|   deleted (eviction)     |   others meet it again              |                                    |        |
| 143, and it is not back  | all pods restart together           | the pod is made anew               | yes    |
|   within ten minutes     |                                     |                                    |        |
| any other code or signal | all pods restart together           | the pod is made anew               | yes    |
| deleted without a word   | as the first eviction; if the others| only that pod is made anew         | no     |
|                          |   fail for want of it, together     |                                    |        |

Read in Volcano 1.15.1 (pkg/controllers/job): the first policy of a task that matches an event or its exit code is
taken, so codes stand before events. A restart of a job, a task or a pod adds one to the job's count of retries,
whatever its reason, and at `maxRetry` the job fails. A pod that is deleted and for which no policy stands is simply
made anew, and nothing is counted: that is how an eviction is free. But a pod that is being deleted first ends with 143,
which is a PodFailed event too. Its policy has a delay, and Volcano drops the action if the pod runs again before it.
"""

from typing import Any, Final

from config.errors import ConfigError, DataError, NotFiniteError, Stopped

BACK: Final = "10m"  # how long an evicted pod may wait for a node before it is treated as failed
NEVER_AGAIN: Final = (ConfigError.exit_code, DataError.exit_code, NotFiniteError.exit_code)


def policies(*, gang: bool, alone: bool) -> list[dict[str, Any]]:
    """The policies of a task.

    Args:
        gang: its pods restart together; otherwise each for itself.
        alone: it is the only task of its job, so that restarting the job is restarting the task.
    """
    restart = ("RestartJob" if alone else "RestartTask") if gang else "RestartPod"
    return [
        *({"exitCode": code, "action": "TerminateJob"} for code in NEVER_AGAIN),
        {"exitCode": Stopped.exit_code, "action": restart, "timeout": BACK},
        {"event": "PodFailed", "action": restart},
    ]


def max_retry(retries: int, units: int) -> int:
    """Volcano's `maxRetry` for so many retries of each unit: a gang is one, and so is each worker.

    A job fails when its count reaches maxRetry, so one more than that; and 0 would mean Volcano's own default of 3.
    """
    return 1 + retries * units
