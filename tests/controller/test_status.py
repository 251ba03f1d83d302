"""The status of a run in every phase, and what `kubectl get` shows of it, to the letter.

After a wanted change: `UPDATE_GOLDEN=1 .venv/bin/pytest tests/controller/test_status.py`, and read the files as a user.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from config.yamls import dump
from controller.crd import COLUMNS
from controller.status import Status, written
from tests.controller.phases import PHASES
from tests.controller.simulated import START, Simulated

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden" / "status"
_PHASE: Final = {"failed-config": "Failed", "failed-crash-loop": "Failed", "failed-deadline": "Failed"}


@cache
def scene(name: str) -> Simulated:
    """Played once: nothing here changes it."""
    return PHASES[name]()


@pytest.mark.parametrize("name", PHASES)
def test_the_status_of_a_phase_is_what_it_always_was(name: str) -> None:
    run = scene(name)
    text = f"# $ kubectl get reveries\n{table(run)}\n{dump({'status': told(run)})}".replace(f"{ROOT}/", "")
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", PHASES)
def test_the_scene_of_a_phase_is_in_that_phase(name: str) -> None:
    assert scene(name).status.phase == _PHASE.get(name, name.capitalize())


@pytest.mark.parametrize("name", PHASES)
def test_what_is_left_out_of_a_status_is_read_as_what_it_was(name: str) -> None:
    status = scene(name).status
    assert Status.model_validate_json(json.dumps(written(status))) == status


def test_there_is_a_file_for_each_scene_and_no_other() -> None:
    assert {path.stem for path in GOLDEN.glob("*")} == set(PHASES)


def told(run: Simulated) -> dict[str, Any]:
    """The status as the API server stores it, but for the whole configs, which test_resolve.py reads."""
    return {key: value for key, value in written(run.status).items() if key != "resolved"}


def table(run: Simulated) -> str:
    """What `kubectl get` prints by the columns of the CRD: a value that is not there is left blank."""
    tree = {"status": told(run)}
    cells = [("NAME", "nano"), *((name.upper(), shown(tree, path)) for name, _, path in COLUMNS if name != "Age")]
    cells.append(("AGE", age((run.now - START).seconds)))
    widths = [max(map(len, one)) + 3 for one in cells]
    rows = ("".join(f"{one[row]:<{width}}" for one, width in zip(cells, widths, strict=True)) for row in (0, 1))
    return "\n".join(f"# {row}".rstrip() for row in rows)


def age(seconds: int) -> str:
    """As kubectl writes it (k8s.io/apimachinery/pkg/util/duration, HumanDuration), up to three hours."""
    assert seconds < 3 * 3600, "the scenes are shorter"
    minutes, rest = divmod(seconds, 60)
    if seconds < 120:
        return f"{seconds}s"
    return f"{minutes}m{rest}s" if minutes < 10 and rest else f"{minutes}m"


def shown(tree: Any, path: str) -> str:
    """The value at a simple JSONPath, as `.status.phase`."""
    for name in path.removeprefix(".").split("."):
        tree = tree.get(name, {})
    return "" if tree == {} else str(tree)
