"""What evaluators found, as files: `<root>/evaluations/<run>/<evaluator>.json`, whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shards import Storage
from trainer.config import EvaluateConfig
from trainer.evaluation.checkpoints import Trained
from trainer.evaluation.labelled import Labelled

Results = dict[str, dict[str, float]]
"""Values by encoder and name."""


@dataclass(frozen=True)
class Subject:
    """All that a result depends on: the same subject has the same result, so it is not computed again."""

    trained: Trained
    train: Labelled
    test: Labelled
    encoders: tuple[str, ...]
    config: EvaluateConfig

    def compared(self, evaluator: str) -> tuple[str, ...]:
        """The encoders that an evaluator looks at: zero-shot has no baselines, for they know no texts."""
        return (self.trained.config.objective.kind,) if evaluator == "zero_shot" else self.encoders

    def describe(self, evaluator: str) -> dict[str, Any]:
        """As JSON. The evaluator's own settings count, the others' do not."""
        split = {s.split: {"digest": s.digest, **s.summary()} for s in (self.train, self.test)}
        names = json.dumps({task: self.test.names.get(task) for task in self.test.classes}).encode()
        told = {"names": hashlib.sha256(names).hexdigest()} if evaluator == "zero_shot" else {}
        return {
            "evaluator": evaluator,
            "checkpoint": {"run": self.trained.run, "step": self.trained.step, "sha256": self.trained.sha256},
            "data": {"root": self.test.storage.root, **split},
            "tasks": list(self.test.classes),
            "encoders": list(self.compared(evaluator)),
            "baseline_seed": self.config.baseline_seed,
            "config": getattr(self.config, evaluator).model_dump(mode="json"),
            **told,
        }


def load(storage: Storage, subject: Subject, evaluator: str) -> Results | None:
    """A result that is there and is of this very subject; None otherwise, also if the file is damaged."""
    try:
        found = json.loads(storage.read(_path(subject, evaluator)))
        values: Results = found.pop("values")
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return values if found == subject.describe(evaluator) else None


def save(storage: Storage, subject: Subject, evaluator: str, values: Mapping[str, Mapping[str, float]]) -> None:
    """Writes a result, in place of what an earlier subject left."""
    data = json.dumps({**subject.describe(evaluator), "values": values}, indent=2)
    storage.replace(_path(subject, evaluator), data.encode() + b"\n")


def _path(subject: Subject, evaluator: str) -> str:
    return f"evaluations/{subject.trained.run}/{evaluator}.json"
