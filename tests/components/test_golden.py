"""What each component starts, to the letter.

After a wanted change: `UPDATE_GOLDEN=1 .venv/bin/pytest tests/components`.
"""

import os
from pathlib import Path

import pytest
import yaml

from tests.components.launching import appdef, tree

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "caption": ("components/caption.py",),
    "caption-vllm": (
        "components/caption.py", "--root", "s3://bucket/run", "--replicas", "8", "--mlflow", "http://mlflow:5000",
        "--python", ".venv-vllm/bin/python", "--", "--caption.engine", "vllm", "--caption.count", "400",
    ),
    "generate": ("components/generate.py",),
    "pretrain": ("components/pretrain.py",),
    "pretrain-two-nodes": (
        "components/pretrain.py", "--recipe", "vit_b16", "--root", "gs://bucket/run", "--nodes", "2",
        "--nproc_per_node", "8", "--image", "trainer:1", "--", "--run", "a $100 run",
    ),
    "evaluate": ("components/evaluate.py",),
    "render": ("components/render.py:render", "--root", "s3://bucket/run"),
    "pipeline": ("components/pipeline.py",),
    "pipeline-large": (
        "components/pipeline.py", "--generate", "synclr", "--pretrain", "vit_b16", "--evaluate", "nano",
        "--root", "s3://bucket/run", "--captioners", "4", "--generators", "64", "--nodes", "4", "--nproc_per_node", "8",
        "--images", "caption=captioner:1,pretrain=trainer:1", "--",
        "--caption.count", "1000000", "--schedule.steps", "100000", "--run", "first", "--tracking.experiment", "large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_component_starts_what_it_always_started(name: str) -> None:
    text = yaml.safe_dump(tree(appdef(*CASES[name])), sort_keys=False, width=120)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
