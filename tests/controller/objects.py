"""Resources as a person writes them."""

import copy
import json
from typing import Any, Final

from controller.resource import Spec

Json = dict[str, Any]

MINIMAL: Final[Json] = {
    "root": "s3://bucket/nano",
    "recipes": {"generate": "nano", "pretrain": "nano", "evaluate": "nano"},
    "tracking": {"uri": "http://mlflow:5000"},
}


def spec(changes: dict[str, Any] | None = None) -> Json:
    """The shortest spec with changes by dotted path; None as value takes a key away."""
    made = copy.deepcopy(MINIMAL)
    for path, value in (changes or {}).items():
        *folders, leaf = path.split(".")
        at = made
        for name in folders:
            at = at.setdefault(name, {})
        if value is None:
            at.pop(leaf, None)
        else:
            at[leaf] = value
    return made


def reverie(name: str = "nano", changes: dict[str, Any] | None = None) -> Json:
    """A whole object."""
    return {"apiVersion": "reverie.dev/v1alpha1", "kind": "Reverie", "metadata": {"name": name}, "spec": spec(changes)}


def parsed(changes: dict[str, Any] | None = None) -> Spec:
    """The spec as the API server stores it and the controller reads it."""
    return Spec.model_validate_json(json.dumps(spec(changes)))
