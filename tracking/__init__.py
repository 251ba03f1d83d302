"""MLflow: runs, params, metrics, pictures, dataset lineage, logged encoders. Imports MLflow only when a run starts."""

from tracking.config import TrackingConfig

__all__ = ["TrackingConfig"]
