"""The chart as rendered by helm, for a cluster that is not there: objects in, questions out."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

Object = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "reverie"
SCENARIOS: Final = ("laptop", "gpu-cluster", "external-mlflow", "restricted-namespace")
CLUSTER_WIDE: Final = (
    "Namespace",
    "PriorityClass",
    "Queue",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
VOLCANO: Final = ("--api-versions", "scheduling.volcano.sh/v1beta1")
PROMETHEUS: Final = ("--api-versions", "monitoring.coreos.com/v1")


def helm(*arguments: str, text: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs the helm that `make helm` fetched, or that $HELM names, with `text` as its input."""
    program = ROOT / os.environ.get("HELM", ".tools/helm")
    assert program.exists(), f"{program} is not there: `make helm` fetches it"
    command = [str(program), *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, input=text, timeout=timeout)


def scenario_file(scenario: str) -> Path:
    """Its values."""
    return CHART / "ci" / f"{scenario}-values.yaml"


def template(
    values: str = "",
    *flags: str,
    release: str = "reverie",
    namespace: str = "reverie",
    has: tuple[str, ...] = VOLCANO + PROMETHEUS,
) -> subprocess.CompletedProcess[str]:
    """`helm template` with values as YAML text, or those of a scenario if it is the name of one."""
    file = str(scenario_file(values)) if values in SCENARIOS else "-"
    where = ("-n", namespace, "--kube-version", "1.35.3", *has)
    return helm("template", release, str(CHART), *where, *flags, "-f", file, text=values)


@lru_cache
def render(
    values: str = "", release: str = "reverie", namespace: str = "reverie", flags: tuple[str, ...] = ()
) -> tuple[Object, ...]:
    """The objects. Not to be changed: they are shared between tests."""
    done = template(values, *flags, release=release, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.load_all(done.stdout, yaml.CSafeLoader) if one)


def refusal(values: str, *flags: str, has: tuple[str, ...] = VOLCANO + PROMETHEUS) -> str:
    """What helm says to values that it must refuse."""
    done = template(values, *flags, has=has)
    assert done.returncode != 0, "helm accepts them"
    return done.stderr


def of_kind(objects: tuple[Object, ...], kind: str) -> list[Object]:
    """Those of a kind."""
    return [one for one in objects if one["kind"] == kind]


def one_of(objects: tuple[Object, ...], kind: str, ending: str) -> Object:
    """The one of a kind whose name ends so."""
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"].endswith(ending)]
    return found


def identity(one: Object) -> tuple[str, str, str]:
    """What no two objects of a cluster share."""
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def pod_specs(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object, Object]]:
    """Name, metadata and spec of every pod that the objects are or make."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["metadata"], one["spec"]
        elif "template" in one.get("spec", {}):
            template = one["spec"]["template"]
            yield (
                one["metadata"]["name"],
                {**one["metadata"], "labels": template["metadata"]["labels"]},
                template["spec"],
            )


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from walk(inner, (*path, str(index)))
    else:
        yield path, value
