"""A node on which attempts fail again and again is avoided for a while."""

from datetime import timedelta

import pytest

from controller.actions import CreateJob, DeleteJob
from tests.controller.simulated import Simulated, created, failed


def begun(**policy: object) -> Simulated:
    """A run without renders, whose captions are asked for."""
    changes = {f"failurePolicy.{key}": value for key, value in policy.items()}
    run = Simulated({"evaluate.data": "s3://bucket/labelled", "failurePolicy.maxRestarts": 20, **changes})
    run.reconcile()
    return run


def fail(run: Simulated, node: str, code: int | None = 1, times: int = 1) -> list[CreateJob]:
    """Attempts that fail on a node, and the jobs that follow them."""
    jobs = []
    for _ in range(times):
        run.set("caption", "Failed", failed(code, f"caption/0 ended (on {node})", node=node))
        run.reconcile()
        jobs += [one for one in run.reconcile(300) if isinstance(one, CreateJob)]
    return jobs


def avoided(job: CreateJob) -> list[str]:
    spec = job.job["spec"]["tasks"][0]["template"]["spec"]
    affinity = spec.get("affinity", {}).get("nodeAffinity")
    if affinity is None:
        return []
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return [node for field in term["matchFields"] for node in field["values"]]


def suspects(run: Simulated) -> list[str]:
    return [one.node for one in run.status.suspects]


def test_the_third_failure_on_a_node_makes_the_next_attempts_avoid_it() -> None:
    run = begun()
    jobs = fail(run, "node-7", times=3)
    assert [avoided(job) for job in jobs] == [[], [], ["node-7"]]
    (one,) = run.status.suspects
    assert one.until == run.now - timedelta(seconds=300) + timedelta(hours=1)
    assert one.reason == ("3 attempts of caption failed on it within 3600 s; the last: caption/0 ended (on node-7)")
    assert run.stage("caption").avoids == ("node-7",)
    run.set("caption", "Completed")
    (image,) = [one for one in run.reconcile() if isinstance(one, CreateJob)]
    assert avoided(image) == ["node-7"], "other stages avoid it, too"


@pytest.mark.parametrize("code", [75, 76, 143])
def test_what_a_node_is_not_the_cause_of_is_not_its_fault(code: int) -> None:
    run = begun()
    fail(run, "node-7", code, times=4)
    assert (suspects(run), run.status.node_failures) == ([], ())


def test_a_pod_that_only_lost_its_peer_is_not_the_one_that_failed() -> None:
    """Times are in whole seconds, and it may come first in the list."""
    run = begun()
    left, killed = failed(75, "pretrain/0: lost its peer", node="node-1"), failed(137, "pretrain/1", node="node-2")
    run.set("caption", "Failed", left, killed)
    run.reconcile()
    error = run.stage("caption").last_error
    assert error is not None
    assert (error.cause, error.node) == ("signal", "node-2")


def test_failures_on_several_nodes_are_no_node_s_fault() -> None:
    run = begun()
    for node in ("node-1", "node-2", "node-3", "node-1"):
        fail(run, node, None)
    assert suspects(run) == []


def test_failures_longer_ago_than_the_window_do_not_count() -> None:
    run = begun(windowSeconds=500)
    fail(run, "node-7", times=2)
    run.reconcile(500)
    fail(run, "node-7")
    assert suspects(run) == []
    assert len(run.status.node_failures) == 1


def test_a_suspicion_ends_by_itself_and_begins_anew() -> None:
    run = begun(suspectSeconds=1000)
    fail(run, "node-7", times=3)
    run.set("caption", "Running")
    run.reconcile()
    run.reconcile(1000)
    assert suspects(run) == []
    assert run.stage("caption").state == "Running", "what runs elsewhere goes on there"
    assert [avoided(job) for job in fail(run, "node-7")] == [[]]


def test_an_attempt_that_waits_for_nodes_is_made_anew_when_a_suspicion_ends() -> None:
    """With one node there is no other: it waits, and then gets that one."""
    run = begun(suspectSeconds=1000)
    fail(run, "node-7", times=3)
    waits = run.stage("caption").job_name
    assert DeleteJob(waits) in run.reconcile(700)
    run.remove_deleted()
    actions = run.reconcile(1)
    assert created(actions) == ["caption"]
    assert [avoided(one) for one in actions if isinstance(one, CreateJob)] == [[]]
    assert [(one.cause, one.count) for one in run.status.restarts] == [("crash", 3)], "that was no failure"


def test_zero_avoids_none() -> None:
    run = begun(suspectFailures=0)
    fail(run, "node-7", times=5)
    assert suspects(run) == []
