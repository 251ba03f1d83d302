"""Node pools come from one file, by name; a wrong file or name ends the launch with one line."""

from pathlib import Path

import pytest
from torchx.specs import resource

from components.errors import LaunchError
from components.pools import POOL, pools
from tests.components.launching import STAGES, appdef


def test_the_shipped_pools() -> None:
    assert [one.name for one in pools()] == ["h100x8", "a100x8", "l4x1", "cpu"]


def test_every_pool_is_chosen_by_a_label_of_its_name() -> None:
    """So one definition of the nodes works on every cloud: manifests/node-pools puts it there."""
    assert {one.selector[POOL] for one in pools()} == {one.name for one in pools()}


@pytest.mark.parametrize("stage", STAGES)
def test_every_component_takes_a_pool(stage: str) -> None:
    app = appdef(f"components/{stage}.py", "--pool", "l4x1")
    assert {role.resource.capabilities[POOL] for role in app.roles} == {"l4x1"}
    assert {role.resource.gpu for role in app.roles} == {1}


def test_a_pipeline_takes_a_pool_per_role() -> None:
    roles = appdef("components/pipeline.py", "--pool", "cpu", "--pools", "image=l4x1,pretrain=a100x8").roles
    used = {role.name: role.resource.capabilities[POOL] for role in roles}
    assert used == {"caption": "cpu", "image": "l4x1", "pretrain": "a100x8", "evaluate": "cpu", "render": "cpu"}


def test_pools_are_named_resources_of_torchx() -> None:
    whole, half = resource(h="h100x8"), resource(h="h100x8_4")
    assert (whole.gpu, whole.cpu, whole.memMB) == (8, 88, 1600 * 1024)
    assert (half.gpu, half.cpu, half.memMB) == (4, 44, 800 * 1024)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["components/caption.py", "--pool", "h100"],
            "--pool: no pool h100; did you mean h100x8? known: h100x8, a100x8",
        ),
        (["components/pretrain.py", "--pool", "l4x1", "--nproc_per_node", "8"], "a pod wants 8 GPUs and a node has 1"),
        (["components/pipeline.py", "--pools", "judge=l4x1"], "--pools: no role judge; known: caption, image"),
        (["components/pipeline.py", "--images", "judge=x:1"], "--images: no role judge; known: caption, image"),
    ],
)
def test_an_unknown_pool_is_answered_with_the_known_ones(arguments: list[str], message: str) -> None:
    with pytest.raises(LaunchError) as refused:
        appdef(*arguments)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("pools: [", "is no YAML"),
        ("pools: []", "pools: Tuple should have at least 1 item"),
        ("pools: [{name: a, cpu: 1}]", "pools.0.memory: Field required"),
        ("pools: [{name: a, cpu: 1, memory: 4, gpus: 8}]", "pools.0.gpus: Extra inputs are not permitted"),
        ("pools: [{name: A, cpu: 1, memory: 4}]", "pools.0.name: String should match pattern"),
        ("pools: [{name: a, cpu: 1, memory: 4, shm: 4}]", "shm (4) is part of memory and must be less than it (4)"),
        ("pools: [{name: a, cpu: 1, memory: 4}, {name: a, cpu: 1, memory: 4}]", "two pools have the name a"),
    ],
)
def test_a_wrong_file_is_named_with_the_field(
    text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pools.yaml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("REVERIE_POOLS", str(file))
    with pytest.raises(LaunchError) as refused:
        pools()
    assert message in str(refused.value)
    assert str(file) in str(refused.value)
