"""Jobs that Volcano has overlooked: its queue has let them in, and it makes no pods for them.

Volcano's controller makes pods when it sees a job's pod group change to `Inqueue`. A group that it sees for the first
time when it is there already, as after its watch broke, does not change, and the job waits for ever
(volcano-sh/volcano#5325). A command makes Volcano look again, which does no harm to a job that has a reason to wait. So
it is asked about a job without pods after a minute, and again when that has waited twice as long.
"""

from datetime import datetime, timedelta
from typing import Final

from controller.observed import Job
from controller.status import StageStatus

FIRST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(minutes=10)


def due(stage: StageStatus, job: Job | None) -> datetime | None:
    """When Volcano is to be asked to look at the job of a stage again; None: it has pods, or is over."""
    if stage.state != "Pending" or job is None or job.created is None:
        return None
    if job.phase not in ("", "Pending") or job.alive or job.deleting:
        return None
    if stage.sync_time is None:
        return job.created + FIRST
    return stage.sync_time + min(max(stage.sync_time - job.created, FIRST), LONGEST)
