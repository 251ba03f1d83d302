"""Where runs are recorded. Imports neither MLflow nor torch: every stage's config holds this section."""

from typing import Final

from pydantic import Field, field_validator

from config import Section

SCHEMES: Final = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


class TrackingConfig(Section):
    """MLflow: one parent run per pipeline, a child run per stage."""

    enabled: bool = True
    """Whether anything is recorded. False switches MLflow off altogether; it is then not even imported."""
    uri: str = "sqlite:///runs/mlflow.db"
    """MLflow's tracking URI. The default needs no server: a database file, made on first use, with the artifacts in a
    folder beside it. On a cluster, the http: address of an MLflow server."""
    experiment: str = Field("reverie", min_length=1, max_length=500)
    """MLflow experiment, made on first use."""
    parent: str | None = None
    """Id of the MLflow run that the stage becomes a child of. None: the pipeline's own parent run is found by root,
    and made if this is the first stage."""
    pipeline: str = ""
    """Tells pipelines over the same root apart, each with a parent run of its own. Empty: one pipeline per root."""
    system_metrics: bool = True
    """Whether to record load, memory, disk, network and GPU of this machine beside the stage's metrics."""
    system_seconds: float = Field(10.0, gt=0)
    """Seconds between two samples of the system metrics. 10 is MLflow's own default."""
    flush_seconds: float = Field(30.0, ge=0)
    """Longest that a finished stage waits for an MLflow that fails to take what is still buffered, seconds; then it
    ends all the same, and says how much was not delivered. One that is only slow gets ten times that. 0 waits for
    neither."""

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        scheme, separator, _ = uri.partition("://")
        if (separator and scheme.split("+")[0] in SCHEMES) or uri == "databricks":
            return uri
        known = ", ".join(f"{s}://" for s in SCHEMES)
        raise ValueError(f"must start with one of {known} (a local database: sqlite:///runs/mlflow.db), got {uri!r}")
