"""What becomes of a run when pods fail: given this observed state, these actions."""

from dataclasses import replace

import pytest

from controller.actions import DeleteJob, Wait
from controller.observed import Failure
from tests.controller.simulated import begun, created, failed


@pytest.mark.parametrize(("exit_code", "reason"), [(64, "ConfigError"), (65, "DataError"), (77, "NotFinite")])
def test_what_can_never_work_is_not_tried_again_and_ends_the_other_stages(exit_code: int, reason: str) -> None:
    run = begun()
    run.set("render", "Running")
    run.reconcile()
    run.set("caption", "Terminated", failed(1, "lost a peer"), failed(exit_code, "caption/0 ended: no such model"))
    actions = run.reconcile()
    assert run.status.phase == "Failed"
    assert run.condition("Failed") == ("True", reason, "caption: caption/0 ended: no such model")
    assert run.states()["render"] == "Cancelled"
    assert DeleteJob(run.stage("render").job_name) in actions
    error = run.stage("caption").last_error
    assert error is not None
    assert error.exit_code == exit_code


@pytest.mark.parametrize(
    ("exit_code", "cause"), [(1, "crash"), (75, "retryable"), (76, "hang"), (137, "signal"), (None, "node")]
)
def test_other_failures_are_tried_again_after_a_wait(exit_code: int | None, cause: str) -> None:
    run = begun()
    run.set("caption", "Failed", failed(exit_code))
    actions = run.reconcile()
    assert created(actions) == []
    assert Wait(10.0) in actions
    assert (run.status.phase, run.stage("caption").state) == ("Restarting", "BackOff")
    assert [(one.cause, one.count) for one in run.status.restarts] == [(cause, 1)]
    assert created(run.reconcile(9)) == []
    assert created(run.reconcile(1)) == ["caption"]
    assert run.stage("caption").attempts == 2


def test_why_a_gang_failed_is_remembered_when_its_pods_are_gone_before_its_job_has_failed() -> None:
    run = begun()
    run.run_to("caption", "image")
    run.set("pretrain", "Running", failed(137, "pretrain/1 ended with signal SIGKILL", node="node-7"))
    run.reconcile()
    run.set("pretrain", "Failed")
    run.reconcile(10)
    error = run.stage("pretrain").last_error
    assert error is not None
    assert (error.cause, error.node) == ("signal", "node-7")
    run.reconcile(10)
    run.set("pretrain", "Failed")
    run.reconcile(10)
    assert [(one.cause, one.count) for one in run.status.restarts] == [("crash", 1), ("signal", 1)]


def test_a_pod_of_a_gang_that_was_evicted_is_no_error() -> None:
    run = begun()
    run.run_to("caption", "image")
    run.set("pretrain", "Running", failed(143))
    run.reconcile()
    assert run.stage("pretrain").last_error is None


def test_the_wait_doubles_up_to_the_longest() -> None:
    run = begun({"failurePolicy.maxRestarts": 8})
    waits = []
    for _ in range(7):
        run.set("caption", "Failed", failed(1))
        run.reconcile()
        retry = run.stage("caption").retry_time
        assert retry is not None
        waits.append((retry - run.now).total_seconds())
        run.reconcile(waits[-1])
    assert waits == [10, 20, 40, 80, 160, 300, 300]


def test_a_crash_loop_fails_with_its_reason_and_last_words() -> None:
    run = begun({"failurePolicy.maxRestarts": 2})
    for _ in range(2):
        run.set("caption", "Failed", failed(1))
        run.reconcile()
        run.reconcile(300)
    run.set("caption", "Failed", failed(1, "caption/0 ended with exit code 1: segmentation fault"))
    run.reconcile()
    status, reason, message = run.condition("Failed")
    assert (status, reason) == ("True", "CrashLoop")
    assert "3 failures within 3600 s (failurePolicy.maxRestarts 2)" in message
    assert "segmentation fault" in message


def test_failures_that_are_longer_ago_than_the_window_are_forgiven() -> None:
    run = begun({"failurePolicy.maxRestarts": 1, "failurePolicy.windowSeconds": 100})
    for _ in range(5):
        run.set("caption", "Failed", failed(1))
        run.reconcile()
        assert run.stage("caption").state == "BackOff"
        run.reconcile(100)
    assert run.status.restarts[0].count == 5


def test_preemption_does_not_count_and_waits_the_shortest_time() -> None:
    run = begun({"failurePolicy.maxRestarts": 0})
    for _ in range(5):
        run.set("caption", "Failed", failed(143))
        assert Wait(10.0) in run.reconcile()
        run.reconcile(10)
    assert run.stage("caption").state == "Pending"
    assert run.stage("caption").failures == ()
    assert [(one.cause, one.count) for one in run.status.restarts] == [("preempted", 5)]


def test_the_pod_that_ended_first_is_the_cause_and_not_those_that_missed_it() -> None:
    run = begun()
    run.set("caption", "Failed", failed(1, "lost a peer", after=9), failed(143, "preempted", after=5))
    run.reconcile()
    assert run.status.restarts[0].cause == "preempted"


def test_a_new_attempt_waits_until_every_pod_of_the_last_has_ended() -> None:
    run = begun()
    run.set("caption", "Failed", failed(1), alive=3)
    run.reconcile()
    assert created(run.reconcile(60)) == []
    run.set("caption", "Failed", failed(1))
    assert created(run.reconcile()) == ["caption"]


def test_a_job_that_somebody_deleted_is_made_again_and_counts_nothing() -> None:
    run = begun({"failurePolicy.maxRestarts": 0})
    run.set("caption", "Running")
    run.reconcile()
    run.remove("caption")
    run.reconcile()
    assert created(run.reconcile(10)) == ["caption"]
    assert run.status.restarts[0].cause == "deleted"


def test_a_stage_that_somebody_cancelled_ends_the_run() -> None:
    run = begun()
    run.set("caption", "Aborted")
    run.reconcile()
    assert run.condition("Failed")[:2] == ("True", "Cancelled")


def test_a_failure_without_a_pod_left_says_what_volcano_said() -> None:
    run = begun()
    run.set("caption", "Failed")
    run.seen = replace(run.seen, jobs=tuple(replace(one, message="evicted") for one in run.seen.jobs))
    run.reconcile()
    error = run.stage("caption").last_error
    assert error is not None
    assert (error.cause, error.message) == ("crash", "evicted")


def test_a_pool_that_is_gone_when_a_job_is_made_again_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun()
    run.seen = replace(run.seen, jobs=(), spec=run.seen.spec and run.seen.spec.model_copy(update={"pool": "gone"}))
    run.reconcile()
    assert run.condition("Failed")[:2] == ("True", "ConfigError")


def test_a_failure_is_not_seen_twice() -> None:
    run = begun()
    run.set("caption", "Failed", Failure(1, "x"))
    run.reconcile()
    run.reconcile(1)
    assert run.status.restarts[0].count == 1
