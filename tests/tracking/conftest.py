"""A MLflow database per test. Making its tables takes seconds, so it is made once and copied."""

import shutil
from pathlib import Path

import pytest

from config import Section
from tracking import TrackingConfig, server


class Params(Section):
    """The config of a stage."""

    count: int = 400
    """A number."""
    root: str = "s3://ada:pa55@bucket/runs"
    """A URI."""


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in it."""
    server.load()
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    server.connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def config(tmp_path: Path, empty_database: Path) -> TrackingConfig:
    """Tracking into a fresh database under the test's folder."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")
    return TrackingConfig(uri=f"sqlite:///{tmp_path}/runs/mlflow.db", system_metrics=False)
