"""What `reconcile` may decide. Each is safe to do twice. A WriteStatus comes first; if it fails, nothing else is."""

from dataclasses import dataclass
from typing import Any, Literal

from controller.status import StageName, Status


@dataclass(frozen=True)
class AddFinalizer:
    """Makes sure that the resource does not go before its jobs."""


@dataclass(frozen=True)
class RemoveFinalizer:
    """Lets a deleted resource go: nothing of it is left."""


@dataclass(frozen=True)
class WriteStatus:
    """Applies the status, if nobody changed the resource since it was observed."""

    status: Status


@dataclass(frozen=True)
class CreateJob:
    """Submits a job, unless one of its name is there."""

    job: dict[str, Any]


@dataclass(frozen=True)
class ScaleJob:
    """Changes the number of pods of a task of a job."""

    name: str
    replicas: int
    task: int = 0
    """By its place in the job: the workers, or the gang, come first, its hot spares second."""


@dataclass(frozen=True)
class SyncJob:
    """Asks Volcano to look at a job again."""

    name: str


@dataclass(frozen=True)
class DeleteJob:
    """Ends a job's pods, with time to save, and removes it."""

    name: str


@dataclass(frozen=True)
class EndHung:
    """Asks every pod of a stage that hangs to write its stacks and end."""

    stage: StageName


@dataclass(frozen=True)
class DeleteRun:
    """Removes the resource itself: its time to live is over."""


@dataclass(frozen=True)
class Emit:
    """An event, for `kubectl describe`."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds, if nothing happens before."""

    seconds: float


Action = (
    AddFinalizer
    | RemoveFinalizer
    | WriteStatus
    | CreateJob
    | ScaleJob
    | SyncJob
    | DeleteJob
    | EndHung
    | DeleteRun
    | Emit
    | Wait
)
