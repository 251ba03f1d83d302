"""A cluster in one variable: it does what `reconcile` decides, and its jobs do what a test says."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

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
from controller.observed import Failure, Job, Observed, Report
from controller.reconcile import reconcile
from controller.render import Owner
from controller.status import Evaluation, StageName, StageStatus, Status, written
from tests.controller.objects import parsed

START: Final = datetime(2026, 11, 22, 18, tzinfo=UTC)


class Simulated:
    """One resource and its jobs. `events` are the reasons and messages of what was emitted, `synced` the seconds since
    the start and the jobs that Volcano was asked to look at again."""

    def __init__(self, changes: dict[str, Any] | None = None, *, finalizer: bool = True) -> None:
        self.changes = dict(changes or {})
        self.now = START
        self.seen = Observed(Owner("nano", "ml", "u-1"), 1, parsed(self.changes), Status(), finalizer=finalizer)
        self.events: list[str] = []
        self.told_hung: list[StageName] = []
        self.synced: list[tuple[int, str]] = []
        self.gone = False

    @property
    def status(self) -> Status:
        return self.seen.status

    def stage(self, name: StageName) -> StageStatus:
        return next(one for one in self.status.stages if one.name == name)

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Its status, reason and message."""
        (one,) = [one for one in self.status.conditions if one.type == kind]
        return one.status, one.reason, one.message

    def states(self) -> dict[str, str]:
        return {stage.name: stage.state for stage in self.status.stages}

    def edit(self, **changes: Any) -> None:
        """As `kubectl edit`."""
        self.changes |= changes
        self.seen = replace(self.seen, spec=parsed(self.changes), generation=self.seen.generation + 1)

    def reconcile(self, seconds: float = 0) -> tuple[Action, ...]:
        """One decision, `seconds` later, carried out; then another one, which must find nothing left to do."""
        self.now += timedelta(seconds=seconds)
        actions = self.decide()
        assert not [one for one in self.decide() if not isinstance(one, Wait)], "deciding twice is deciding once"
        return actions

    def decide(self) -> tuple[Action, ...]:
        actions = reconcile(self.seen, self.now)
        for action in actions:
            self.do(action)
        return actions

    def do(self, action: Action) -> None:
        jobs = {job.name: job for job in self.seen.jobs}
        match action:
            case WriteStatus():
                body = json.dumps(written(action.status))
                self.seen = replace(self.seen, status=Status.model_validate_json(body))
            case CreateJob():
                name = action.job["metadata"]["name"]
                task, *spare = (one["replicas"] for one in action.job["spec"]["tasks"])
                made = Job(name, replicas=task, spares=spare[0] if spare else None, created=self.now)
                jobs.setdefault(name, made)
            case ScaleJob():
                job, count = jobs[action.name], action.replicas
                jobs[action.name] = replace(job, spares=count) if action.task else replace(job, replicas=count)
            case SyncJob():
                self.synced.append((int((self.now - START).total_seconds()), action.name))
            case DeleteJob():
                jobs[action.name] = replace(jobs[action.name], deleting=True)
            case AddFinalizer():
                self.seen = replace(self.seen, finalizer=True)
            case RemoveFinalizer():
                self.seen = replace(self.seen, finalizer=False)
                self.gone = self.seen.deleting
            case DeleteRun():
                self.seen = replace(self.seen, deleting=True)
            case EndHung():
                self.told_hung.append(action.stage)
            case Emit():
                self.events.append(f"{action.reason} {action.message}".strip())
        self.seen = replace(self.seen, jobs=tuple(jobs.values()))

    def job(self, stage: StageName) -> Job:
        found = self.seen.job(self.stage(stage).job_name)
        assert found, f"no job of {stage}"
        return found

    def set(
        self,
        stage: StageName,
        phase: str,
        *failures: Failure,
        alive: int = 0,
        running: int = 1,
        waiting: int = 0,
        results: tuple[Evaluation, ...] = (),
    ) -> None:
        """What becomes of the job of a stage: while it runs, `running` of its pods do, and `waiting` have no node."""
        running = running if phase == "Running" else 0
        job = replace(self.job(stage), phase=phase, failures=failures, running=running, alive=alive or running)
        job = replace(job, waiting=waiting, warm=job.spares or 0, results=results)
        self.seen = replace(self.seen, jobs=tuple(job if one.name == job.name else one for one in self.seen.jobs))

    def remove_deleted(self) -> None:
        """The cluster has ended the pods of jobs that are being deleted."""
        self.seen = replace(self.seen, jobs=tuple(job for job in self.seen.jobs if not job.deleting))

    def remove(self, stage: StageName) -> None:
        """Somebody deleted the job of a stage, and it is gone."""
        name = self.stage(stage).job_name
        self.seen = replace(self.seen, jobs=tuple(job for job in self.seen.jobs if job.name != name))

    def report(
        self,
        stage: StageName,
        done: int,
        shards: int = 0,
        rate: float | None = None,
        *,
        step: float | None = None,
        age: float = 0.0,
        save: float | None = None,
        recorded: str = "",
    ) -> None:
        """A pod of the newest attempt says now that it moved last `age` seconds ago."""
        attempt = next((one.attempts for one in self.status.stages if one.name == stage), 0)
        told = Report(done, shards, rate, step, attempt, age, self.now, save, recorded)
        self.seen = replace(self.seen, reports={**self.seen.reports, stage: told})

    def run_to(self, *stages: StageName) -> None:
        """Each of these, in order: its job runs, then completes."""
        for stage in stages:
            self.set(stage, "Running")
            self.reconcile(10)
            self.set(stage, "Completed")
            self.reconcile(10)


def begun(changes: dict[str, Any] | None = None) -> Simulated:
    """A run whose captions and renders have been asked for."""
    run = Simulated(changes)
    run.reconcile()
    return run


def failed(exit_code: int | None, message: str = "it failed", after: float = 0, node: str = "") -> Failure:
    """A pod that ended so, `after` seconds after the start."""
    return Failure(exit_code, message, START + timedelta(seconds=after), node)


def created(actions: tuple[Action, ...]) -> list[str]:
    """The stages whose jobs are made."""
    return [one.job["metadata"]["labels"]["reverie.dev/stage"] for one in actions if isinstance(one, CreateJob)]
