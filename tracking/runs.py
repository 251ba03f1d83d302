"""Which MLflow runs a stage writes to: exactly one parent per pipeline, and one child per stage that restarts continue.

MLflow gives every new run a random id and knows no "create unless there is one", so two stages that start together
would both find nothing and both create. Two things decide instead:

* a lock on the machine: search, then create, with nobody between. That is all when the processes share a machine, as
  they must with the sqlite default;
* across machines, a ledger: the exclusive create of a small file under the pipeline's root (`shards.Storage` has the
  two methods). Whoever's run id is in the ledger won; the loser deletes its own still empty run and takes the
  winner's. A number in the file's name goes up by one when the run it names is gone: another server, a deleted run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from tracking.params import redact
from tracking.server import machine_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

PARENT: Final = "mlflow.parentRunId"  # MLflow's own tag: children are drawn under it
KEY: Final = "reverie.key"  # what a run is found by; the tags below are for people
ROOT: Final = "reverie.root"
STAGE: Final = "reverie.stage"
RESUME: Final = "reverie.resume"


class Ledger(Protocol):
    """Small files that every process of the pipeline sees. `shards.Storage` is one."""

    def create(self, path: str, data: bytes) -> None:
        """Atomic and exclusive. Raises FileExistsError."""

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""


@dataclass(frozen=True)
class Runs:
    """Finds and makes runs in one experiment of one MLflow store."""

    client: MlflowClient
    uri: str
    experiment: str
    ledger: Ledger | None = None

    def parent(self, root: str, pipeline: str) -> str:
        """The id of the pipeline's parent run, made if this stage is the first."""
        key = pipeline_key(root, pipeline)
        name = pipeline or Path(urlsplit(root).path).name or "pipeline"
        return self._one(f"tracking/{key}", {KEY: key}, name, {ROOT: redact(root)})

    def child(self, parent: str, stage: str, resume_key: str | None, tags: Mapping[str, str]) -> str:
        """The id of a stage's run under `parent`: the one a former process had under the same key, or a new one."""
        name = stage if resume_key is None else f"{stage} {resume_key}"
        key = digest(f"{parent}\n{name}")
        told = {**tags, STAGE: stage, RESUME: resume_key or stage}
        return self._one(f"tracking/{key}", {PARENT: parent, KEY: key}, name, told)

    def _one(self, path: str, identity: Mapping[str, str], name: str, tags: Mapping[str, str]) -> str:
        """The one run whose tags are `identity`."""

        def create() -> str:
            run = self.client.create_run(self.experiment, tags={**tags, **identity}, run_name=name)
            return str(run.info.run_id)

        with machine_lock(self.uri):
            found = self._search(identity)
            if self.ledger is None:
                return found[0] if found else create()
            mine = found[0] if found else create()
            winner = agree(self.ledger, path, mine, self._exists)
            # Also what a process left that was killed between creating its run and entering it.
            for loser in {mine, *found} - {winner}:
                if self._exists(loser):
                    self.client.delete_run(loser)
            return winner

    def _search(self, tags: Mapping[str, str]) -> list[str]:
        """Runs with all these tags (ids and digests: nothing to quote), the oldest first."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = self.client.search_runs([self.experiment], query, order_by=["attributes.start_time ASC"])
        return [str(run.info.run_id) for run in runs]

    def _exists(self, run: str) -> bool:
        return find(self.client, run) is not None


def agree(ledger: Ledger, path: str, mine: str, exists: Callable[[str], bool]) -> str:
    """The run that all processes agree on: the first one entered that still exists; `mine` if there was none."""
    for generation in count():
        entry = f"{path}.{generation}"
        try:
            winner = ledger.read(entry).decode()
        except FileNotFoundError:
            try:
                ledger.create(entry, mine.encode())
            except FileExistsError:
                winner = ledger.read(entry).decode()
            else:
                return mine
        if winner == mine or exists(winner):
            return winner
    raise AssertionError("count() ends never")


def find(client: MlflowClient, run: str) -> MlflowRun | None:
    """A run that is there and not deleted, or None. Raises what MLflow raises when it is not reached."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return found if found.info.lifecycle_stage == "active" else None


def finish(client: MlflowClient, run: str, status: str) -> None:
    """Ends a stage's run, and gives its parent the state that all its children have together."""
    client.set_terminated(run, status)
    mine = client.get_run(run)
    parent = mine.data.tags.get(PARENT)
    if parent is None:
        return
    children = client.search_runs([mine.info.experiment_id], f"tags.`{PARENT}` = '{parent}'")
    states = {child.info.status for child in children}
    if "RUNNING" not in states:
        client.set_terminated(parent, next((s for s in ("FAILED", "KILLED") if s in states), "FINISHED"))


def pipeline_key(root: str, pipeline: str = "") -> str:
    """Names a pipeline: the same for every stage that works under `root`, from whatever folder it was started."""
    plain = root.removeprefix("file://") if root.startswith("file:") else root
    place = redact(root) if "://" in plain else str(Path(plain.removeprefix("file:")).absolute())
    return digest(f"{place.rstrip('/')}\n{pipeline}")


def digest(text: str) -> str:
    """16 hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
