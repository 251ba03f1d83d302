"""A wrong tracking URI is told before anything starts."""

import pytest
from pydantic import ValidationError

from tracking import TrackingConfig


@pytest.mark.parametrize(
    "uri", ["sqlite:///runs/mlflow.db", "postgresql+psycopg2://u:p@h/db", "https://mlflow.example", "databricks"]
)
def test_uris_of_mlflow_stores_are_taken(uri: str) -> None:
    assert TrackingConfig(uri=uri).uri == uri


@pytest.mark.parametrize("uri", ["runs/mlflow.db", "sqlit:///runs/mlflow.db", "s3://bucket/mlflow", ""])
def test_others_are_refused_with_the_known_ones(uri: str) -> None:
    with pytest.raises(ValidationError, match="must start with one of sqlite://"):
        TrackingConfig(uri=uri)
