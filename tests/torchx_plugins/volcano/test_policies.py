"""What Volcano does when a pod ends, worked out by the rule in its source: the first policy that matches is taken."""

from typing import Any

import pytest

from config.errors import ReverieError
from torchx_plugins.volcano.policies import policies


def taken(rules: list[dict[str, Any]], event: str, code: int = 0) -> tuple[str, bool]:
    """The action of an event with an exit code, and whether it waits; SyncJob if no policy matches (applyPolicies of
    Volcano 1.15.1). SyncJob makes pods anew that are gone."""
    for rule in rules:
        if rule.get("event") == event or ("exitCode" in rule and rule["exitCode"] == code):
            return rule["action"], "timeout" in rule
    return "SyncJob", False


GANG = policies(gang=True, alone=True)
WORKER = policies(gang=False, alone=True)


@pytest.mark.parametrize("rules", [GANG, WORKER, policies(gang=True, alone=False)])
@pytest.mark.parametrize("code", [64, 65, 77])
def test_what_can_never_work_ends_the_job(rules: list[dict[str, Any]], code: int) -> None:
    assert taken(rules, "PodFailed", code) == ("TerminateJob", False)


@pytest.mark.parametrize("code", [1, 75, 76, 137])
def test_a_dead_pod_restarts_its_gang_together_and_a_worker_alone(code: int) -> None:
    assert taken(GANG, "PodFailed", code) == ("RestartJob", False)
    assert taken(policies(gang=True, alone=False), "PodFailed", code) == ("RestartTask", False)
    assert taken(WORKER, "PodFailed", code) == ("RestartPod", False)


@pytest.mark.parametrize("rules", [GANG, WORKER])
def test_an_eviction_makes_the_pod_anew_and_counts_nothing(rules: list[dict[str, Any]]) -> None:
    """First the container ends with 143, which must not act at once; then the pod is gone, which no policy counts."""
    _, waits = taken(rules, "PodFailed", 143)
    assert waits
    assert taken(rules, "PodEvicted") == ("SyncJob", False)


def test_every_exit_code_of_ours_is_decided_by_its_number_or_as_a_failure() -> None:
    for error in ReverieError.__subclasses__():
        assert taken(GANG, "PodFailed", error.exit_code)[0] in ("TerminateJob", "RestartJob")


@pytest.mark.parametrize("rules", [GANG, WORKER])
def test_volcanos_admission_takes_them(rules: list[dict[str, Any]]) -> None:
    """Its rules (validatePolicies): an event or a code, never both, none twice, never 0, and events it knows."""
    assert all(("event" in rule) != ("exitCode" in rule) for rule in rules)
    keys = [rule.get("event", rule.get("exitCode")) for rule in rules]
    assert len(keys) == len(set(keys))
    assert 0 not in keys
