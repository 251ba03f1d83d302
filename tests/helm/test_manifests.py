"""The rendered manifests in the repository are those of the chart."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.helm.chart import ROOT, SCENARIOS

pytestmark = pytest.mark.helm

COMMITTED = ROOT / "manifests" / "chart"


def texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make manifests` makes of the chart now, elsewhere."""
    folder = tmp_path_factory.mktemp("made") / "chart"
    helm = os.environ.get("HELM", ".tools/helm")
    command = ["make", "--no-print-directory", "chart", f"MANIFESTS={folder}", f"HELM={helm}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return folder


def test_they_are_up_to_date(made: Path) -> None:
    assert texts(made) == texts(COMMITTED), "the chart has changed: give `make manifests` and commit what it makes"


def test_there_is_one_per_scenario() -> None:
    assert texts(COMMITTED).keys() == {f"{scenario}.yaml" for scenario in SCENARIOS}


def test_they_hold_no_pod_of_the_test() -> None:
    """They are for `kubectl apply`, which knows no hooks."""
    for name, text in texts(COMMITTED).items():
        assert "kind: Pod\n" not in text, name
