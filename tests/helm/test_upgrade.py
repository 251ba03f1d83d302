"""A release can move from any scenario to any other: what Kubernetes lets nobody change stays as it is."""

from itertools import permutations
from typing import Any, Final

import pytest

from tests.helm.chart import SCENARIOS, Object, identity, of_kind, render

pytestmark = pytest.mark.helm

# Fields that the API server refuses to change, by kind. The other kinds of the chart may change in all of theirs.
IMMUTABLE: Final[dict[str, tuple[str, ...]]] = {
    "Deployment": ("spec.selector",),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName", "spec.volumeMode", "spec.volumeName"),
    "PriorityClass": ("value", "preemptionPolicy"),
    "RoleBinding": ("roleRef",),
    "Service": ("spec.clusterIP", "spec.type"),
}

MOVES: Final = list(permutations((*SCENARIOS, ""), 2))


def frozen(one: Object) -> dict[str, Any]:
    """The fields of an object that cannot change."""
    found: dict[str, Any] = {}
    for path in IMMUTABLE.get(one["kind"], ()):
        at: Any = one
        for key in path.split("."):
            at = at.get(key) if isinstance(at, dict) else None
        found[path] = at
    return found


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_no_immutable_field_changes(old: str, new: str) -> None:
    before = {identity(one): frozen(one) for one in render(old)}
    after = {identity(one): frozen(one) for one in render(new)}
    both = before.keys() & after.keys()
    assert both
    assert {key: before[key] for key in both} == {key: after[key] for key in both}


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_a_claim_never_shrinks(old: str, new: str) -> None:
    def sizes(values: str) -> list[str]:
        return [
            one["spec"]["resources"]["requests"]["storage"] for one in of_kind(render(values), "PersistentVolumeClaim")
        ]

    assert not (sizes(old) and sizes(new)) or sizes(old) == sizes(new)


def test_the_way_of_rolling_out_has_one_type_whatever_the_storage() -> None:
    """Kubernetes refuses rollingUpdate beside type Recreate, and it fills rollingUpdate in by itself."""

    def strategy(values: str) -> Any:
        (deployment,) = of_kind(render(values), "Deployment")
        return deployment["spec"]["strategy"]

    assert strategy("laptop") == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    assert strategy("gpu-cluster") == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_a_new_version_of_the_chart_alone_restarts_nothing() -> None:
    """What changes with the version stands in labels of the objects, not of the pods."""
    for one in of_kind(render(""), "Deployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys()


def test_the_claim_outlives_the_release_only_if_asked_to() -> None:
    for keep, annotations in (("false", None), ("true", {"helm.sh/resource-policy": "keep"})):
        (claim,) = of_kind(render(f"mlflow: {{persistence: {{keep: {keep}}}}}"), "PersistentVolumeClaim")
        assert claim["metadata"].get("annotations") == annotations
