"""Whatever spec the schema accepts: it becomes a valid job for every stage, or is refused in a line with its reason."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import ConfigError
from controller.crd import crd
from controller.render import Owner, render
from controller.resolve import resolve
from controller.resource import Spec
from controller.schema import Schema
from tests.controller.objects import spec as minimal
from tests.torchx_plugins.volcano.restricted import violations

SPEC: Schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
TEXTS = {
    "root": ["s3://bucket/run", "gs://b/x/y", "az://container"],
    "data": ["", "s3://bucket/labelled"],
    "pool": ["cpu", "l4x1", "a100x8", "h100x8"],
    "topology": ["", "soft", "hard:2"],
    "uri": ["http://mlflow:5000"],
}
CONFIGS = ("config", "concept", "lease", "tracking")


def values(schema: Schema, name: str = "") -> st.SearchStrategy[Any]:
    """What a schema admits, near enough to what people write."""
    if name in TEXTS:
        return st.sampled_from(TEXTS[name])
    if (
        name in CONFIGS and "properties" in schema
    ):  # a whole config at random seldom makes sense: mostly none, or one key of it
        keys = [st.fixed_dictionaries({key: values(one, key)}) for key, one in schema["properties"].items()]
        return st.one_of(st.just({}), st.just({}), st.one_of(keys))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    low, high = schema.get("minimum", 0), schema.get("maximum", 10**6)
    match schema["type"]:
        case "integer":
            return st.integers(low, min(high, low + 64))
        case "number":
            return st.floats(low, min(high, low + 10), exclude_min=bool(schema.get("exclusiveMinimum")))
        case "boolean":
            return st.booleans()
        case "string":
            return st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
        case "array":
            sizes = {"min_size": schema.get("minItems", 0), "max_size": min(schema["maxItems"], 3)}
            return st.lists(values(schema["items"]), **sizes, unique_by=json.dumps)
    needed = {key: values(schema["properties"][key], key) for key in schema.get("required", ())}
    rest = {key: values(one, key) for key, one in schema["properties"].items() if key not in needed}
    return st.fixed_dictionaries(needed, optional=rest)


def outcome(tree: dict[str, Any]) -> str:
    """What becomes of a spec: nothing is said if it becomes jobs, which are looked at here."""
    spec = Spec.model_validate_json(json.dumps({**minimal(), **tree}))
    try:
        resolved = resolve(spec)
        jobs = [render(Owner("nano", "ml", "u-1"), stage, 1, spec, resolved) for stage in resolved.stages]
    except ConfigError as error:
        return str(error) or "refused without a word"
    for job in jobs:
        assert len(json.dumps(job)) < 100_000
        for task in job["spec"]["tasks"]:
            assert violations(task["template"]["spec"]) == []
            assert 0 <= task["minAvailable"] <= task["replicas"]
    return ""


def test_a_spec_that_the_schema_admits_becomes_jobs_or_is_refused_with_a_reason() -> None:
    outcomes: list[str] = []

    @settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(values(SPEC))
    def any_spec(tree: dict[str, Any]) -> None:
        outcomes.append(outcome(tree))

    any_spec()
    assert "refused without a word" not in outcomes
    assert outcomes.count("") > len(outcomes) // 10, "too few become jobs for this to show anything"
