"""manifests/node-pools makes, on every cloud, the nodes that helm/reverie/files/pools.yaml promises."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.pools import POOL, pools

CLOUDS = sorted((Path(__file__).parents[2] / "manifests" / "node-pools").glob("*.yaml"))


def nodes(cloud: Path) -> dict[str, tuple[dict[str, str], list[tuple[str, str]]]]:
    """Labels and taints (key, effect) of each pool's nodes."""
    found = {}
    for one in yaml.safe_load_all(cloud.read_text()):
        match one["kind"]:
            case "NodePool":
                spec = one["spec"]["template"]
                labels, taints = spec["metadata"]["labels"], spec["spec"].get("taints", [])
            case "ContainerNodePool":
                config = one["spec"]["nodeConfig"]
                labels, taints = config["labels"], list(config.get("taint", []))
                if "guestAccelerator" in config:  # GKE's own
                    taints.append({"key": "nvidia.com/gpu", "effect": "NO_SCHEDULE"})
            case "ManagedClustersAgentPool":
                labels = one["spec"]["nodeLabels"]
                taints = [_taint(text) for text in one["spec"].get("nodeTaints", [])]
            case _:
                continue
        found[one["metadata"]["name"]] = labels, [(taint["key"], _effect(taint["effect"])) for taint in taints]
    return found


def _taint(text: str) -> dict[str, Any]:
    pair, _, effect = text.partition(":")
    return {"key": pair.partition("=")[0], "effect": effect}


def _effect(name: str) -> str:
    return {"NO_SCHEDULE": "NoSchedule"}.get(name, name)


def test_there_are_three_clouds() -> None:
    assert [path.stem for path in CLOUDS] == ["aks", "eks-karpenter", "gke"]


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda path: path.stem)
def test_every_pool_is_there_with_its_label_and_tolerated_taints(cloud: Path) -> None:
    made = nodes(cloud)
    assert set(made) == {f"reverie-{pool.name}" for pool in pools()}
    for pool in pools():
        labels, taints = made[f"reverie-{pool.name}"]
        assert labels[POOL] == pool.name
        assert set(taints) <= {(one.key, one.effect) for one in pool.tolerations}
        assert (pool.gpus > 0) == any(key == "nvidia.com/gpu" for key, _ in taints)
