"""The way to MLflow: its client, made ready for several processes that start on one new database at once."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE: Final = "sqlite:///"

# A user's own value wins. Retrying is the writer's work: with MLflow's 7 retries one call to a server that is down
# takes four minutes, in which nothing else can be tried and a finished stage would wait.
_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow sends usage data otherwise; nothing here leaves the machine unasked
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",  # environment names are no part of a model
}
# MLflow prints a stack for every failed statement; the writer says once that the database is not reached.
_QUIET: Final = {
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.utils.environment": logging.ERROR,  # environments made by uv have no pip to find the version of
    "alembic": logging.WARNING,
}


def load() -> None:
    """Imports MLflow, which takes seconds: call it before the stage's own threads start importing.

    Two threads that import overlapping packages (pandas, scipy) at once can see half of one.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    import mlflow.data
    import mlflow.entities
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def connect(uri: str) -> MlflowClient:
    """A client that has spoken to its store once. A local database is made, tables included.

    Raises:
        Exception: whatever MLflow raises when the store is not reached.
    """
    from mlflow import MlflowClient

    uri = absolute(uri)
    if (database := _database(uri)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    # MLflow's own lock does not keep two processes from migrating one new database at once ("duplicate column name").
    with machine_lock(uri):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, which is made if there is none. Its artifacts lie beside a local database.

    Raises:
        MlflowException: not reached, or the name belongs to a deleted experiment.
    """
    from mlflow.exceptions import MlflowException

    database = _database(absolute(uri))
    artifacts = None if database is None else (database.parent / "artifacts").as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:  # another process was faster: names are unique
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        advice = "restore it (mlflow experiments restore) or set tracking.experiment"
        raise MlflowException(f"the experiment {name!r} is deleted: {advice}")
    return str(found.experiment_id)


def absolute(uri: str) -> str:
    """A sqlite URI with an absolute path: one database has one name, wherever a process was started."""
    database = _database(uri)
    return uri if database is None else f"{SQLITE}{database}"


@contextmanager
def machine_lock(uri: str) -> Iterator[None]:
    """Only one process of this machine at a time, for one tracking URI. Ends with the process, however that ends."""
    database = _database(absolute(uri))
    if database is None:
        digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"reverie-{os.getuid()}-{digest}.lock"
    else:
        path = database.with_name(f"{database.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _database(uri: str) -> Path | None:
    """The absolute path of a sqlite database; None for a server and for a database in memory."""
    path = uri.removeprefix(SQLITE)
    if path == uri or path in ("", ":memory:"):
        return None
    return Path(path.partition("?")[0]).absolute()
