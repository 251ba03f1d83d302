"""Wrong values are refused, by the key that is wrong."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import yaml

from tests.helm.chart import CHART, SCENARIOS, refusal, render, scenario_file

SCHEMA: Final[dict[str, Any]] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())

# Each with the key that the refusal must name, and something of the reason in the same line.
WRONG: Final = [
    # A type that is not what the key holds.
    ("nameOverride: 5", "/nameOverride", "want string"),
    ("commonLabels: [a]", "/commonLabels", "want object"),
    ("imagePullSecrets: registry", "/imagePullSecrets", "want array"),
    ("jobs: {createNamespace: 'yes'}", "/jobs/createNamespace", "want boolean"),
    ("volcano: true", "/volcano", "want object"),
    ("mlflow: {replicas: two}", "/mlflow/replicas", "want integer"),
    ("mlflow: {workers: 1.5}", "/mlflow/workers", "want integer"),
    ("mlflow: {podAnnotations: {note: 5}}", "/mlflow/podAnnotations/note", "want string"),
    ("quota: {hard: {pods: true}}", "/quota/hard/pods", "got boolean"),
    # A value outside what is known.
    ("workloadIdentity: {provider: aws}", "/workloadIdentity/provider", "'eks-irsa'"),
    ("jobs: {podSecurity: strict}", "/jobs/podSecurity", "'restricted'"),
    ("networkPolicy: {jobIngress: all}", "/networkPolicy/jobIngress", "'namespace'"),
    ("mlflow: {backend: {type: mysql}}", "/mlflow/backend/type", "'postgresql'"),
    ("mlflow: {image: {pullPolicy: Sometimes}}", "/mlflow/image/pullPolicy", "'IfNotPresent'"),
    ("mlflow: {persistence: {accessMode: RWO}}", "/mlflow/persistence/accessMode", "'ReadWriteOncePod'"),
    (
        "priorityClasses: {training: {preemptionPolicy: Always}}",
        "/priorityClasses/training/preemptionPolicy",
        "'Never'",
    ),
    ("submitters: [{kind: Robot, name: r2}]", "/submitters/0/kind", "'ServiceAccount'"),
    ("mlflow: {tolerations: [{effect: Never}]}", "/mlflow/tolerations/0/effect", "'NoSchedule'"),
    # A number out of bounds.
    ("queues: {training: {weight: 0}}", "/queues/training/weight", "want 1"),
    ("priorityClasses: {training: {value: 2000000000}}", "/priorityClasses/training/value", "maximum"),
    ("mlflow: {replicas: 0}", "/mlflow/replicas", "want 1"),
    ("mlflow: {runAsUser: 0}", "/mlflow/runAsUser", "want 10,000"),
    ("mlflow: {service: {port: 70000}}", "/mlflow/service/port", "maximum"),
    ("networkPolicy: {objectStorage: {ports: []}}", "/networkPolicy/objectStorage/ports", "minItems"),
    # A text of the wrong form.
    ("fullnameOverride: My Release", "/fullnameOverride", "does not match"),
    ("fullnameOverride: " + "x" * 41, "/fullnameOverride", "maxLength"),
    ("jobs: {namespace: Jobs_1}", "/jobs/namespace", "does not match"),
    ("commonLabels: {team: computer vision}", "/commonLabels/team", "does not match"),
    ("commonLabels: {'-team': vision}", "/commonLabels", "'-team' not allowed"),
    ("serviceAccounts: {My_Jobs: {}}", "/serviceAccounts", "'My_Jobs' not allowed"),
    ("mlflow: {image: {digest: 'sha256:abc'}}", "/mlflow/image/digest", "sha256:[0-9a-f]{64}"),
    ("mlflow: {image: {repository: 'ghcr.io/mlflow/mlflow:v3'}}", "/mlflow/image/repository", "does not match"),
    ("mlflow: {external: {uri: mlflow.example.com}}", "/mlflow/external/uri", "https?://"),
    ("mlflow: {artifacts: {destination: bucket/mlflow}}", "/mlflow/artifacts/destination", "s3|gs|abfss|wasbs"),
    ("mlflow: {persistence: {size: 10 GB}}", "/mlflow/persistence/size", "does not match"),
    ("mlflow: {resources: {limits: {memory: 2Gb}}}", "/mlflow/resources/limits/memory", "does not match"),
    ("metrics: {serviceMonitor: {interval: often}}", "/metrics/serviceMonitor/interval", "does not match"),
    ("networkPolicy: {dns: {cidrs: [169.254.20.10]}}", "/networkPolicy/dns/cidrs/0", "does not match"),
    (
        "networkPolicy: {database: {ipBlocks: [{cidr: anywhere}]}}",
        "/networkPolicy/database/ipBlocks/0/cidr",
        "does not",
    ),
    # A key that is missing.
    ("priorityClasses: {urgent: {description: soon}}", "/priorityClasses/urgent", "missing property 'value'"),
    ("networkPolicy: {database: {ipBlocks: [{except: []}]}}", "/networkPolicy/database/ipBlocks/0", "'cidr'"),
    ("networkPolicy: {mlflowClients: [{podLabels: {a: b}}]}", "/networkPolicy/mlflowClients/0", "'namespaceLabels'"),
    ("submitters: [{kind: User}]", "/submitters/0", "missing property 'name'"),
]

# Keys that do not agree with each other, or with the cluster: the templates say so, one at a time.
DISAGREEING: Final = [
    ("jobs: {createNamespace: true}", "jobs.createNamespace", "the release's own namespace (reverie)"),
    ("quota: {enabled: true}", "quota.hard", "is empty"),
    ("limitRange: {max: {nvidia.com/gpu: 8}}", "limitRange.max", "every container 8 of it"),
    ("queues: {training: {guarantee: {cpu: 8}}}", "queues.training.guarantee", "cpu has no queues.training.deserved"),
    ("policy: {requireDigest: true}", "mlflow.image.digest", "policy.requireDigest is true"),
    ("metrics: {serviceMonitor: {enabled: true}}", "metrics.serviceMonitor.enabled", "metrics.enabled=true"),
    ("mlflow: {external: {uri: 'http://other'}}", "mlflow.external.uri", "while mlflow.enabled is true"),
    ("mlflow: {image: {tag: latest}}", "mlflow.image.tag", "another image tomorrow"),
    ("mlflow: {backend: {type: postgresql}}", "mlflow.backend.secret.name", "a secret that holds"),
    ("mlflow: {backend: {secret: {name: database}}}", "mlflow.backend.type", "set it to postgresql"),
    ("mlflow: {replicas: 2}", "mlflow.replicas", "cannot share a sqlite file"),
    (
        "mlflow: {replicas: 2, backend: {type: postgresql, secret: {name: database}}}",
        "mlflow.replicas",
        "mlflow.artifacts.destination",
    ),
    ("mlflow: {artifacts: {secretName: keys}}", "mlflow.artifacts.destination", "name the bucket"),
    ("mlflow: {identity: someone}", "mlflow.identity", "workloadIdentity.provider none has no use"),
    (
        "{workloadIdentity: {provider: eks-irsa}, serviceAccounts: {jobs: {identity: role/jobs}}}",
        "serviceAccounts.jobs.identity",
        "must be a role, arn:aws:iam::",
    ),
    ("{workloadIdentity: {provider: gke}, mlflow: {identity: me}}", "mlflow.identity", "iam.gserviceaccount.com"),
]


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any] | None:
    """Both in one; None if they say something about the same key."""
    both = dict(first)
    for key, value in second.items():
        if key not in both:
            both[key] = value
        elif isinstance(value, dict) and isinstance(both[key], dict):
            inner = merged(both[key], value)
            if inner is None:
                return None
            both[key] = inner
        else:
            return None
    return both


@cache
def batches() -> list[dict[str, Any]]:
    """All wrong values in as few files as hold them, because a schema names everything that is wrong at once."""
    found: list[dict[str, Any]] = []
    for text in [values for values, _, _ in WRONG] + [yaml.safe_dump(unknown(path)) for path in LEVELS]:
        values = yaml.safe_load(text)
        for index, batch in enumerate(found):
            if (both := merged(batch, values)) is not None:
                found[index] = both
                break
        else:
            found.append(values)
    return found


@cache
def said_of(batch: int) -> list[str]:
    """What helm says to a batch, by lines."""
    return refusal(yaml.safe_dump(batches()[batch])).splitlines()


def lines_about(values: dict[str, Any], key: str) -> list[str]:
    """What helm says about a key of these values, among others."""
    (batch,) = [index for index, batch in enumerate(batches()) if merged_into(values, batch)]
    return [line for line in said_of(batch) if f"at '{key}'" in line]


def merged_into(values: Any, batch: Any) -> bool:
    """Whether a batch holds these values."""
    if isinstance(values, dict):
        return isinstance(batch, dict) and all(key in batch and merged_into(values[key], batch[key]) for key in values)
    return bool(values == batch)


@pytest.mark.helm
@pytest.mark.parametrize(("values", "key", "reason"), WRONG)
def test_a_wrong_value_is_refused_by_its_key_with_a_reason(values: str, key: str, reason: str) -> None:
    lines = lines_about(yaml.safe_load(values), key)
    assert any(reason in line for line in lines), lines


@pytest.mark.helm
@pytest.mark.parametrize(("values", "key", "reason"), DISAGREEING)
def test_values_that_do_not_agree_are_refused_with_the_cure(values: str, key: str, reason: str) -> None:
    said = refusal(values)
    assert f"{key}: " in said
    assert reason in said


def closed(schema: dict[str, Any], values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all objects of the default values whose keys are fixed."""
    schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if not isinstance(values, dict):
        return
    if schema.get("properties"):
        yield path
    maps = [*schema.get("patternProperties", {}).values()]
    for key, inner in values.items():
        yield from closed(schema.get("properties", {}).get(key) or maps[0], inner, (*path, key))


LEVELS: Final = sorted(closed(SCHEMA, DEFAULTS))


def unknown(path: tuple[str, ...]) -> dict[str, Any]:
    """Values with a key that does not exist, at a path."""
    values: dict[str, Any] = {"enbled": True}
    for key in reversed(path):
        values = {key: values}
    return values


@pytest.mark.helm
@pytest.mark.parametrize("path", LEVELS, ids=lambda path: ".".join(path) or "top")
def test_an_unknown_key_is_refused_at_every_level(path: tuple[str, ...]) -> None:
    lines = lines_about(unknown(path), "".join(f"/{key}" for key in path))
    assert any("additional properties 'enbled" in line for line in lines), lines


def test_there_are_levels() -> None:
    assert {(), ("mlflow",), ("mlflow", "backend", "secret"), ("queues", "training")} <= set(LEVELS)


def objects_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object, wherever it stands."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects_of(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects_of(inner)


def test_every_object_of_the_schema_is_closed_and_every_key_described() -> None:
    opened = [one["description"] for one in objects_of(SCHEMA) if one.get("additionalProperties") is not False]
    assert opened == [
        SCHEMA["properties"]["global"]["description"],  # Helm's own
        SCHEMA["$defs"]["annotations"]["description"],  # any text under any name
    ]
    for one in objects_of(SCHEMA):
        for key, inner in one.get("properties", {}).items():
            assert inner.get("description"), key


def test_every_key_of_the_schema_has_a_default_that_people_can_read() -> None:
    def compare(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        assert schema["properties"].keys() - {"global"} == values.keys(), path
        for key, inner in schema["properties"].items():
            if "properties" in inner:
                compare(inner, values[key], f"{path}.{key}")

    compare(SCHEMA, DEFAULTS, "values")


@pytest.mark.helm
@pytest.mark.parametrize("values", ["", "global: {anything: goes}", *SCENARIOS])
def test_right_values_are_accepted(values: str) -> None:
    assert render(values)


def test_every_scenario_is_tested() -> None:
    assert {scenario_file(scenario) for scenario in SCENARIOS} == set((CHART / "ci").glob("*.yaml"))
