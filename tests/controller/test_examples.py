"""The example manifests are specs that the controller takes."""

import json
from pathlib import Path
from typing import Final

import pytest
import yaml

from controller.render import Owner, render
from controller.resolve import resolve
from controller.resource import Spec

EXAMPLES: Final = Path(__file__).parents[2] / "manifests" / "examples"


@pytest.mark.parametrize("file", [one.name for one in EXAMPLES.glob("*.yaml")])
def test_it_renders_a_job_for_every_stage(file: str) -> None:
    made = yaml.safe_load((EXAMPLES / file).read_text())
    assert (made["apiVersion"], made["kind"]) == ("reverie.dev/v1alpha1", "Reverie")
    spec = Spec.model_validate_json(json.dumps(made["spec"]))
    resolved = resolve(spec)
    for stage in resolved.stages:
        render(Owner(made["metadata"]["name"], "ml", "u-1"), stage, 1, spec, resolved)
