"""A run through faults ends with what an undisturbed one gives: every sample once, the same weights, the same losses.

The seed's whole suite is `python -m benchmarks.chaos`; here is a part of it.
"""

from collections.abc import Iterator

import pytest

from tests.cluster.chaos import KINDS, Outcome, Weather, plan, weather
from tests.cluster.cluster import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def sky(controlled: LocalCluster) -> Iterator[Weather]:
    with weather(controlled) as made:
        yield made


@pytest.fixture(scope="module")
def calm(sky: Weather) -> Outcome:
    return sky.run("calm", [])


def test_a_plan_is_its_seeds_and_has_every_kind() -> None:
    assert plan(7, 9) == plan(7, 9) != plan(8, 9)
    counts = [sum(fault.kind == kind for run in plan(7, 9) for fault in run) for kind in KINDS]
    assert sum(counts) == 108
    assert min(counts) >= 6


def test_an_undisturbed_run_succeeds_and_leaves_nothing(calm: Outcome) -> None:
    assert (calm.phase, calm.restarts, calm.left) == ("Succeeded", {}, [])


def test_a_run_through_faults_gives_what_an_undisturbed_one_gives(sky: Weather, calm: Outcome) -> None:
    rough = sky.run("rough", plan(seed=4, runs=1)[0][::3])
    print("\n".join(map(str, rough.faults)))
    assert rough.phase == "Succeeded"
    assert rough.result == calm.result
    assert rough.left == []
    assert len(rough.faults) >= 3
