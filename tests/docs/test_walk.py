"""CONTRIBUTING.md says how an objective is added. This test adds it, as it says, to a copy of the project."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import ALL, ROOT
from tests.trainer.scenes import images

PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("config", "shards", "tracking", "trainer", "tests", "pyproject.toml")
COMMANDS = (
    "python -m tests.trainer.objectives.test_curves rotation",
    "python -m pytest tests/trainer -k rotation",
)
"""As the page has them."""
TRAINING = (
    "python -m trainer.pretrain --recipe rotation_nano --root {root} --batch.captions 4 --batch.workers 0 "
    "--schedule.steps 2 --schedule.warmup_steps 0 --tracking.enabled false"
)
LINES = {
    "trainer/objective_config.py": (("    | SuperClassConfig,\n", "| RotationConfig"),),
    "trainer/objectives/__init__.py": (("OBJECTIVES: Mapping", '"rotation": Rotation,'),),
    "trainer/recipes/__init__.py": (
        ("RECIPES: Mapping", '"rotation_nano": rotation.nano,'),
        ("EVALUATIONS: Mapping", '"rotation_nano": evaluation.like(evaluation.nano, rotation.nano),'),
    ),
    "tests/trainer/objectives/small.py": (("CONFIGS: dict", '"rotation": RotationConfig(),'),),
}
"""Where lines go that the page gives: after the first line that begins so."""
IMPORTS = {
    "trainer/objectives/__init__.py": "from trainer.objectives.rotation import Rotation",
    "trainer/recipes/__init__.py": "from trainer.recipes import rotation",
    "tests/trainer/objectives/small.py": "from trainer.objective_config import RotationConfig",
}


def add_files(copy: Path) -> None:
    """Every block that begins with a file's name: a new file, or a class of the config."""
    blocks = [block for block in ALL if block.page == PAGE.name and block.code.startswith("# ")]
    assert len(blocks) == 4
    for block in blocks:
        name, code = block.code.removeprefix("# ").split("\n", 1)
        file = copy / name
        if file.exists():
            before, after = file.read_text().split("AnyObjective = Annotated[", 1)
            code = f"{before}{code}\n\nAnyObjective = Annotated[{after}"
        file.write_text(code)


def add_lines(copy: Path) -> None:
    """The lines that the page gives, and the imports that they need."""
    for name, lines in LINES.items():
        file = copy / name
        text = file.read_text()
        for anchor, line in lines:
            assert f"`{line}`" in PAGE.read_text()
            if line.startswith("|"):
                text = text.replace(anchor, f"{anchor.rstrip(chr(10) + ',')}\n    {line},\n")
            else:
                head, tail = text.split(f"\n{anchor}", 1)
                first, rest = tail.split("\n", 1)
                text = f"{head}\n{anchor}{first}\n    {line}\n{rest}"
        if name in IMPORTS:
            text = text.replace("\nfrom trainer", f"\n{IMPORTS[name]}\nfrom trainer", 1)
        file.write_text(text)


def run(command: str, copy: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(program, cwd=copy, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_objective_is_added_as_contributing_md_says(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    skipped = shutil.ignore_patterns("__pycache__", "cluster", "helm")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=skipped)
        else:
            shutil.copy(ROOT / name, copy / name)
    add_files(copy)
    add_lines(copy)
    run("python -m ruff check --extend-ignore I --no-cache trainer", copy)  # the test does not sort the imports it adds
    run("python -m ruff format --check --no-cache trainer/objectives trainer/recipes", copy)
    for command in COMMANDS:
        run(command, copy)
    images(str(tmp_path / "run"))
    run(TRAINING.format(root=tmp_path / "run"), copy)
    assert (tmp_path / "run/checkpoints/rotation-nano/step-00000002/COMMITTED").exists()
