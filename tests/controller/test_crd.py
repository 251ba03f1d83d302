"""The CRD as a file: that it is the one of the models, and what it says."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controller.crd import crd
from controller.rules import MUTABLE, frozen, object_rules, spec_rules
from tests.controller.test_schema import bounds_missing

ROOT: Final = Path(__file__).parents[2]
SCHEMA: Final = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize(
    ("file", "flags"), [("manifests/crd/reveries.yaml", ()), ("helm/reverie/files/crd.yaml", ("--spec",))]
)
def test_the_committed_files_are_up_to_date(file: str, flags: tuple[str, ...]) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "controller.crd", *flags], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert made.stdout == (ROOT / file).read_text(), "the models have changed: give `make manifests` and commit"


def test_client_side_apply_can_hold_it() -> None:
    """kubectl apply writes the object into an annotation, and annotations have at most 256 KiB."""
    assert len((ROOT / "manifests/crd/reveries.yaml").read_bytes()) < 200_000
    assert yaml.safe_load((ROOT / "manifests/crd/reveries.yaml").read_text()) == crd()


def test_everything_has_a_bound() -> None:
    assert bounds_missing(SCHEMA["properties"]["spec"]) == []
    assert bounds_missing(SCHEMA["properties"]["status"]) == []


def test_every_key_says_what_it_means() -> None:
    def bare(schema: dict[str, Any], path: str) -> list[str]:
        missing = [] if schema.get("description") or path.endswith("[]") else [path]
        for name, below in schema.get("properties", {}).items():
            missing += bare(below, f"{path}.{name}")
        return missing + (bare(schema["items"], f"{path}[]") if "items" in schema else [])

    assert bare(SCHEMA["properties"]["spec"], "spec")[1:] == []
    assert bare(SCHEMA["properties"]["status"], "status")[1:] == []


def test_every_rule_says_what_it_minds() -> None:
    for rule in (*spec_rules(), *object_rules()):
        assert ("message" in rule) != ("messageExpression" in rule), rule


def test_all_of_the_spec_is_fixed_at_the_start_but_what_is_said_to_change() -> None:
    named = set(SCHEMA["properties"]["spec"]["properties"])
    whole = {path.partition(".")[0] for path in (*frozen(), *MUTABLE)}
    assert whole == named
    assert not set(frozen()) & MUTABLE
    assert {"image.config", "image.pool", "image.image", "image.threads"} <= set(frozen())


def test_lists_that_several_write_have_keys() -> None:
    status = SCHEMA["properties"]["status"]["properties"]
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert status["stages"]["x-kubernetes-list-map-keys"] == ["name"]
    assert status["restarts"]["x-kubernetes-list-map-keys"] == ["cause"]
