"""MLflow: runs, params, metrics, pictures, dataset lineage, logged encoders. Imports MLflow only when a run starts."""

from tracking.config import TrackingConfig
from tracking.grid import grid
from tracking.run import Run, stage_run

__all__ = ["Run", "TrackingConfig", "grid", "stage_run"]
