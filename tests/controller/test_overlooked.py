"""Volcano is asked to look again at jobs that have no pods: it may have overlooked them."""

import pytest

from controller.actions import Wait
from tests.controller.phases import LABELLED
from tests.controller.simulated import Simulated, begun


def asked(run: Simulated, seconds: int) -> list[int]:
    """When Volcano was asked, over so many seconds of which each is a look."""
    for _ in range(seconds):
        run.reconcile(1)
    return [when for when, _ in run.synced]


def test_after_a_minute_and_then_when_it_has_waited_twice_as_long() -> None:
    run = begun(LABELLED)
    run.set("caption", "Pending")
    assert asked(run, 2400) == [60, 120, 240, 480, 960, 1560, 2160]
    assert {name for _, name in run.synced} == {run.stage("caption").job_name}


def test_the_next_look_is_when_it_is_due() -> None:
    run = begun(LABELLED)
    assert Wait(55.0) in run.reconcile(5)
    assert Wait(60.0) in run.reconcile(55)


@pytest.mark.parametrize(("phase", "alive"), [("Pending", 1), ("Running", 0)])
def test_a_job_that_has_pods_was_seen(phase: str, alive: int) -> None:
    run = begun(LABELLED)
    run.set("caption", phase, alive=alive, waiting=alive)
    assert asked(run, 300) == []


def test_the_next_attempt_has_a_minute_of_its_own() -> None:
    run = begun(LABELLED)
    run.reconcile(60)
    run.edit(suspend=True)
    run.reconcile(10)
    run.remove_deleted()
    run.edit(suspend=False)
    run.reconcile(10)
    assert run.stage("caption").sync_time is None
    assert asked(run, 100) == [60, 140]
