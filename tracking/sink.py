"""MLflow behind a `Writer`: one stage's run and its parent."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config.report import LATEST
from tracking import params as text
from tracking import server
from tracking.config import TrackingConfig
from tracking.runs import Ledger, Runs, finish
from tracking.writer import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

PARAMS_PER_CALL: Final = 100  # MLflow's MAX_PARAMS_TAGS_PER_BATCH
REFUSALS: Final = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")
CHANGED: Final = "changed."  # prefix of the tags for params that a restart changed: MLflow's params are final


class MlflowSink:
    """Where a stage's writer delivers; connects on the writer's thread, as soon as MLflow is there."""

    def __init__(
        self, config: TrackingConfig, stage: str, root: str, resume_key: str | None, ledger: Ledger | None
    ) -> None:
        self._config, self._stage, self._root = config, stage, root
        self._resume_key, self._ledger = resume_key, ledger
        self.name = f"MLflow at {text.redact(config.uri)}"
        self.client: MlflowClient
        self.experiment = self.run = ""
        self._started_ms = 0

    def open(self) -> None:
        """Finds or makes the runs."""
        uri = server.absolute(self._config.uri)
        self.client = server.connect(uri)
        parent = self._config.parent
        if parent is None:
            self.experiment = server.experiment(self.client, uri, self._config.experiment)
        else:
            self.experiment = self.client.get_run(parent).info.experiment_id
        runs = Runs(self.client, uri, self.experiment, self._ledger)
        parent = parent or runs.parent(self._root, self._config.pipeline)
        LATEST.record(f"experiments/{self.experiment}/runs/{parent}")
        run = runs.child(parent, self._stage, self._resume_key, _origin())
        for one in (parent, run):
            self.client.update_run(one, status="RUNNING")
        self._started_ms = self.client.get_run(run).info.start_time
        self.run = run

    def send(self, points: Sequence[Point]) -> None:
        """Sends metrics; MLflow takes the same point twice as one."""
        from mlflow.entities import Metric

        self.client.log_batch(
            self.run,
            [
                Metric(p.key, p.value, p.time_ms, (p.time_ms - self._started_ms) // 1000 if p.step is None else p.step)
                for p in points
            ],
        )

    def hopeless(self, error: Exception) -> bool:
        """Whether MLflow (or our own code) says no. A network, a full disk and a busy database may be back."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        if isinstance(error, MlflowException):
            return error.error_code in REFUSALS
        return not isinstance(error, (OSError, OperationalError))

    def log_params(self, params: Mapping[str, str]) -> None:
        """Logs new params; those that a former process logged with another value become `changed.` tags."""
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(self.run).data.params
        new = [Param(k, v) for k, v in params.items() if k not in known]
        changed = [RunTag(text.name(f"{CHANGED}{k}"), v) for k, v in params.items() if known.get(k, v) != v]
        for start in range(0, len(new), PARAMS_PER_CALL):
            self.client.log_batch(self.run, params=new[start : start + PARAMS_PER_CALL])
        for start in range(0, len(changed), PARAMS_PER_CALL):
            self.client.log_batch(self.run, tags=changed[start : start + PARAMS_PER_CALL])

    def log_dataset(self, dataset: DatasetInput) -> None:
        """Records a dataset input. MLflow looks for the dataset's row and writes it if it finds none; when another run
        writes it between the two, the row's key is refused as a BAD_REQUEST, and a second look finds the row."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_inputs(self.run, [dataset])
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            self.client.log_inputs(self.run, [dataset])

    def log_bytes(self, data: bytes, name: str) -> None:
        """Stores a file among the run's artifacts; `name` may have folders."""
        folder = str(Path(name).parent)
        with tempfile.TemporaryDirectory() as local:
            path = Path(local) / Path(name).name
            path.write_bytes(data)
            self.client.log_artifact(self.run, str(path), None if folder == "." else folder)

    def finish(self, status: str) -> None:
        """Ends the run; the parent follows when no other stage works."""
        finish(self.client, self.run, status)


def _origin() -> dict[str, str]:
    """Tags that say where a run comes from."""
    try:
        version = importlib.metadata.version("reverie")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        version = "source"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return {
        "mlflow.source.name": spec.name if spec else Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        "reverie.host": platform.node(),
        "reverie.version": version,
    }
