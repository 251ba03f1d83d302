"""Which shards a run learnt from, as an MLflow dataset input. Imports MLflow: only `tracking.run` imports this file."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import register_dataset_source
from mlflow.entities import Dataset, DatasetInput, InputTag

from tracking.params import redact

MAX_DIGEST: Final = 36  # MLflow's MAX_DATASET_DIGEST_SIZE; the whole digest stands in the source
MAX_NAME: Final = 500
SOURCE_TYPE: Final = "reverie_shards"


class ShardSource(DatasetSource):
    """Committed shards under a root, pinned by their digest."""

    def __init__(self, root: str, digest: str) -> None:
        self.root = root
        self.digest = digest

    def load(self) -> str:
        """The root's URI: `shards.Storage(root)` reads it, `shards.dataset_digest` proves it is the same data."""
        return self.root

    def to_dict(self) -> dict[str, Any]:
        """As MLflow stores it."""
        return {"root": self.root, "digest": self.digest}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "ShardSource":
        """The reverse of `to_dict`."""
        return cls(source_dict["root"], source_dict["digest"])

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False  # a bare path says nothing about shards: made by hand only

    @classmethod
    def _resolve(cls, raw_source: Any) -> "ShardSource":
        raise NotImplementedError("made by hand only")


register_dataset_source(cast(DatasetSource, ShardSource))  # the hint says an instance, the code takes a class


def dataset_input(name: str, digest: str, root: str, summary: Mapping[str, Any], context: str) -> DatasetInput:
    """One dataset as a run's input.

    Args:
        summary: what the markers say together: shards, samples, bytes, ...; shown as the dataset's profile.
        context: what the run did with it, as MLflow names it: training, validation, testing.
    """
    source = ShardSource(redact(root), digest)
    dataset = Dataset(
        name=name[:MAX_NAME],
        digest=digest[:MAX_DIGEST],
        source_type=SOURCE_TYPE,
        source=json.dumps(source.to_dict()),
        profile=json.dumps(dict(summary)),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
