"""Components are found under both names, say what they take, and refuse at once what a stage would refuse later."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torchx.specs.finder import get_component, get_components

from components.roles import LaunchError
from config import ConfigError
from tests.components.launching import STAGES, appdef, tree

ROOT = Path(__file__).parents[2]


def torchx(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "torchx"), "run", "--dryrun", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "TORCHXCONFIG"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)


@pytest.mark.parametrize("stage", STAGES)
def test_both_names_mean_the_same_app(stage: str) -> None:
    assert tree(appdef(f"components/{stage}.py")) == tree(appdef(f"components/{stage}.py:{stage}"))


def test_the_command_takes_the_path_alone() -> None:
    done = torchx("components/pretrain.py", "--", "--schedule.steps", "100")
    assert done.returncode == 0, done.stderr
    assert "'--schedule.steps'" in done.stdout


def test_the_command_takes_the_path_and_the_function() -> None:
    done = torchx("components/pretrain.py:pretrain", "--recipe", "vit_b16", "--nproc_per_node", "8")
    assert done.returncode == 0, done.stderr
    assert "'vit_b16'" in done.stdout


def test_a_wrong_recipe_ends_the_command_with_one_line() -> None:
    done = torchx("components/pretrain.py", "--recipe", "nanoo")
    assert done.returncode != 0
    assert "--recipe: no recipe nanoo; did you mean nano?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_is_explained(stage: str) -> None:
    component = get_component(f"components/{stage}.py:{stage}").fn
    for name in inspect.signature(component).parameters:
        assert f"        {name}: " in (component.__doc__ or ""), name


def test_torchx_own_components_are_still_there() -> None:
    assert {"dist.torchrun", "utils.echo"} <= get_components().keys()


@pytest.mark.parametrize(
    ("stage", "arguments", "message"),
    [
        ("caption", ["--recipe", "nan"], "--recipe: no recipe nan; did you mean nano?"),
        ("generate", ["--", "--image.step", "3"], "did you mean image.steps?"),
        ("generate", ["--", "--image.steps", "0"], "image.steps: Input should be greater than 0, got 0"),
        ("caption", ["--root", "s4://bucket/run"], "--root: no storage s4://bucket/run; known: file://, s3://"),
        ("caption", ["--root", "memory://run"], "--root: no storage memory://run"),
        ("caption", ["--mlflow", "mlflow.db"], "tracking.uri"),
        ("caption", ["--replicas", "0"], "--replicas: must be at least 1, got 0"),
        ("pretrain", ["--nodes", "0"], "--nodes: must be at least 1, got 0"),
        ("pretrain", ["--nproc_per_node", "5"], "batch.captions must be divisible by 5 processes"),
        ("pretrain", ["--", "--objective.kind", "clap"], "objective.kind"),
        ("pipeline", ["--recipe", "nan"], "--recipe: no recipe nan; did you mean nano?"),
        ("pipeline", ["--", "--caption.cuont", "3"], "did you mean caption.count?"),
        ("pipeline", ["--", "--captoin.count", "3"], "captoin"),
        ("pipeline", ["--", "--schedule.steps", "many"], "schedule.steps"),
    ],
)
def test_what_a_stage_would_refuse_is_refused_at_launch(stage: str, arguments: list[str], message: str) -> None:
    with pytest.raises(LaunchError) as refused:
        appdef(f"components/{stage}.py", *arguments)
    assert message in str(refused.value)
    assert isinstance(refused.value, ConfigError)


def test_threads_of_pretraining_are_those_of_each_process_wherever_it_runs() -> None:
    """Alone in its pod, a process would otherwise take all cores of it, and compute other bits than beside another."""
    (role,) = appdef("components/pretrain.py", "--nodes", "2", "--threads", "1").roles
    assert "--engine.threads 1 --recipe nano" in " ".join(role.args)
    assert role.env["OMP_NUM_THREADS"] == "1"
