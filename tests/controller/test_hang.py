"""A stage whose pods answer but do not move is started again; one that is silent, waits or is slow is left alone."""

from controller.actions import DeleteJob, EndHung, Wait
from tests.controller.simulated import Simulated, created, failed


def working(changes: dict[str, object] | None = None) -> Simulated:
    """A run whose captions are at 40 of 256, a step each 2 s."""
    run = Simulated(changes)
    run.reconcile()
    for stage in run.status.stages:
        if stage.name in ("caption", "render"):
            run.set(stage.name, "Running")
    run.report("caption", done=40, step=2.0)
    run.reconcile()
    return run


def restarts(run: Simulated) -> dict[str, int]:
    return {one.cause: one.count for one in run.status.restarts}


def test_no_progress_for_longer_than_allowed_is_a_hang_and_the_pods_are_told_once() -> None:
    run = working()
    assert Wait(2400.0) in run.reconcile()
    run.report("caption", done=40, step=2.0, age=0)
    assert run.told_hung == []
    run.reconcile(2399)
    run.report("caption", done=40, step=2.0, age=2399)
    run.reconcile()
    assert run.told_hung == []
    run.reconcile(2)
    run.report("caption", done=40, step=2.0, age=2401)
    actions = run.reconcile()
    assert EndHung("caption") in actions
    assert Wait(60.0) in actions
    assert not [one for one in actions if isinstance(one, DeleteJob)], "pods that end by themselves keep their logs"
    stage = run.stage("caption")
    assert stage.hang_time == run.now
    assert stage.last_error
    assert stage.last_error.message == (
        "no progress for 2401 s at 40/256, where the median step takes 2 s (failurePolicy.hangSeconds 2400); "
        "the stacks are in the logs of its pods"
    )
    run.reconcile(10)
    assert run.told_hung == ["caption"]
    assert "StageHangs" in " ".join(run.events)


def hung(changes: dict[str, object] | None = None) -> Simulated:
    run = working(changes)
    run.reconcile(2401)
    run.report("caption", done=40, step=2.0, age=2401)
    run.reconcile()
    assert run.told_hung == ["caption"]
    return run


def test_pods_that_end_by_themselves_make_the_next_attempt_and_the_cause_is_the_hang() -> None:
    run = hung()
    run.set("caption", "Failed", failed(137, "caption/0 ended with signal 9 (on node-7)"))
    run.reconcile(2)
    assert restarts(run) == {"hang": 1}
    error = run.stage("caption").last_error
    assert error
    assert (error.cause, error.exit_code) == ("hang", 137)
    assert error.message.startswith("no progress for 2401 s at 40/256")
    assert error.message.endswith("caption/0 ended with signal 9 (on node-7)")
    assert created(run.reconcile(10)) == ["caption"]
    assert run.stage("caption").hang_time is None
    assert len(run.stage("caption").failures) == 1


def test_a_job_whose_pods_do_not_end_is_deleted_after_a_minute() -> None:
    run = hung()
    job = run.stage("caption").job_name
    assert DeleteJob(job) not in run.reconcile(59)
    assert DeleteJob(job) in run.reconcile(1)
    assert restarts(run) == {"hang": 1}
    assert created(run.reconcile(100)) == [], "its pods have not ended"
    run.remove_deleted()
    assert created(run.reconcile(1)) == ["caption"]


def test_one_that_moves_on_after_all_is_let_go_on() -> None:
    run = hung()
    run.reconcile(30)
    run.report("caption", done=41, step=2.0)
    run.reconcile()
    assert run.stage("caption").hang_time is None
    run.reconcile(60)
    assert (run.stage("caption").state, restarts(run)) == ("Running", {})


def test_too_many_hangs_are_a_crash_loop() -> None:
    run = hung({"failurePolicy.maxRestarts": 0})
    run.set("caption", "Failed", failed(76))
    run.reconcile()
    assert run.condition("Failed")[1] == "CrashLoop"


def test_silence_is_no_hang() -> None:
    """The last answer came 10 s after the last step; then nobody answers for a day."""
    run = working()
    assert Wait(15.0) in run.reconcile(86_400)
    assert (run.told_hung, run.stage("caption").state) == ([], "Running")


def test_a_slow_stage_may_take_twenty_of_its_steps() -> None:
    run = working()
    run.reconcile(15_000)
    run.report("caption", done=40, step=1000.0, age=15_000)
    run.reconcile()
    assert run.told_hung == []
    run.reconcile(5_001)
    run.report("caption", done=40, step=1000.0, age=20_001)
    run.reconcile()
    assert run.told_hung == ["caption"]


def test_zero_switches_it_off() -> None:
    run = working({"failurePolicy.hangSeconds": 0})
    run.reconcile(86_400)
    run.report("caption", done=40, step=2.0, age=86_400)
    assert run.reconcile() == ()
    assert run.told_hung == []


def test_images_that_wait_for_captions_do_not_hang() -> None:
    run = working()
    run.report("caption", done=64, shards=1)
    run.reconcile()
    run.set("image", "Running")
    run.report("image", done=0)
    run.reconcile()
    run.reconcile(9_000)
    run.report("image", done=0, age=9_000)
    run.report("caption", done=80, shards=1)
    run.reconcile()
    assert run.told_hung == []
    run.set("caption", "Completed")
    run.reconcile()
    assert run.told_hung == [], "from now on they have everything"
    run.reconcile(2_401)
    run.report("image", done=0, age=11_401)
    run.reconcile()
    assert run.told_hung == ["image"]


def test_what_a_pod_of_an_earlier_attempt_said_is_no_heartbeat() -> None:
    run = hung()
    run.set("caption", "Failed", failed(76))
    run.reconcile()
    run.reconcile(10)
    run.set("caption", "Running")
    run.reconcile(5_000)
    assert run.stage("caption").progress_time is None
    assert run.told_hung == ["caption"]


def test_a_worker_that_stands_still_does_not_make_a_stage_hang_that_moves() -> None:
    run = working()
    for _ in range(20):
        run.reconcile(300)
        run.report("caption", done=60, step=2.0, age=1.0)
        run.reconcile(0)
        run.report("caption", done=40, step=2.0, age=9_999)
        run.reconcile(0)
    assert run.told_hung == []
