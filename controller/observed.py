"""What `reconcile` is told: one resource, its jobs and their reports, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from controller.render import Owner
from controller.resource import Spec
from controller.status import Evaluation, StageName, Status

ENDED: Final = frozenset({"Completed", "Failed", "Terminated", "Aborted"})  # Volcano's phases that a job does not leave


@dataclass(frozen=True)
class Failure:
    """A pod that failed."""

    exit_code: int | None
    """None if the container never ran, or its node was lost."""
    message: str
    """Which pod, how it ended, its last words."""
    finished: datetime | None = None
    node: str = ""
    """Where it ran."""


@dataclass(frozen=True)
class Job:
    """A Volcano job of the resource."""

    name: str
    phase: str = ""
    """Volcano's; empty until Volcano has seen it."""
    message: str = ""
    """Volcano's."""
    replicas: int = 1
    """Workers that it is asked to have."""
    running: int = 0
    """Pods that run."""
    alive: int = 0
    """Pods that have not ended, those that wait and those that are ending included."""
    waiting: int = 0
    """Pods that no node has been found for."""
    spares: int | None = None
    """Hot spares that it is asked to have, which none of the other figures count; None if it cannot have any."""
    warm: int = 0
    """Hot spares that run."""
    created: datetime | None = None
    """When it was made."""
    deleting: bool = False
    failures: tuple[Failure, ...] = ()
    results: tuple[Evaluation, ...] = ()
    """What an evaluation has left in its pod's status."""

    @property
    def ended(self) -> bool:
        """Whether it will do nothing more by itself."""
        return self.phase in ENDED


@dataclass(frozen=True)
class Report:
    """What a stage says of its progress, as its pods count it in the storage."""

    done: int
    """Captions, images or steps."""
    shards: int = 0
    """Committed units; 0 where there are none."""
    rate: float | None = None
    """Of `done`, per second."""
    step: float | None = None
    """Median time between two advances of `done`, seconds."""
    attempt: int = 0
    """Whose pod said it."""
    age: float = field(default=0.0, compare=False)
    """Since the last advance of `done`, seconds, when it was heard. What only grows older is no news."""
    heard: datetime | None = field(default=None, compare=False)
    save: float | None = None
    """What the last checkpoint took, seconds."""
    recorded: str = field(default="", compare=False)
    """Path of the run in MLflow's pages, where the pod knows it: of a gang, one does."""


@dataclass(frozen=True)
class Observed:
    """Everything a decision depends on, but for the time."""

    owner: Owner
    generation: int
    spec: Spec | None
    """None if this release cannot read it; `invalid` says why."""
    status: Status
    jobs: tuple[Job, ...] = ()
    """All jobs that the resource owns."""
    reports: Mapping[StageName, Report] = field(default_factory=dict)
    """The last report of each stage that gave one."""
    invalid: str = ""
    finalizer: bool = True
    """Whether it carries ours."""
    deleting: bool = False

    def job(self, name: str) -> Job | None:
        """The job of a name, if it is there."""
        return next((job for job in self.jobs if job.name == name), None)
