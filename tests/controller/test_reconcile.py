"""Given this observed state, these actions."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.actions import (
    AddFinalizer,
    CreateJob,
    DeleteJob,
    DeleteRun,
    RemoveFinalizer,
    ScaleJob,
    Wait,
    WriteStatus,
)
from controller.reconcile import reconcile
from controller.status import Evaluation
from tests.controller.simulated import START, Simulated, begun, created, failed


def kinds(actions: object) -> list[str]:
    assert isinstance(actions, tuple)
    return [type(one).__name__ for one in actions]


# Start


def test_before_anything_else_the_resource_gets_its_finalizer() -> None:
    run = Simulated(finalizer=False)
    assert run.decide() == (AddFinalizer(),)


def test_a_run_starts_with_captions_and_renders_and_the_status_is_written_before_any_job() -> None:
    actions = Simulated().decide()
    assert kinds(actions)[:3] == ["WriteStatus", "CreateJob", "CreateJob"]
    assert created(actions) == ["caption", "render"]


def test_with_labelled_data_of_its_own_nothing_is_rendered() -> None:
    run = begun({"evaluate.data": "s3://bucket/labelled"})
    assert list(run.states()) == ["caption", "image", "pretrain", "evaluate"]


def test_the_resolved_config_is_kept_from_the_start_and_jobs_are_made_of_it() -> None:
    run = begun()
    kept = run.status.resolved
    assert kept is not None
    changed = {**kept, "generate": {**kept["generate"], "caption": {**kept["generate"]["caption"], "count": 96}}}
    run.seen = replace(run.seen, status=run.status.model_copy(update={"resolved": changed}))
    run.set("caption", "Running")
    run.reconcile()
    run.remove("caption")
    run.reconcile()
    actions = run.reconcile(10)
    (job,) = [one.job for one in actions if isinstance(one, CreateJob)]
    args = job["spec"]["tasks"][0]["template"]["spec"]["containers"][0]["args"]
    assert any('"count":96' in argument for argument in args)


def test_a_controller_that_died_before_it_made_the_job_is_followed_by_one_that_makes_it() -> None:
    run = Simulated()
    (written, *rest) = run.decide()
    first = created(tuple(rest))
    run.seen = replace(run.seen, jobs=())
    assert isinstance(written, WriteStatus)
    again = run.decide()
    assert created(again) == first
    assert "WriteStatus" not in kinds(again)


def test_a_spec_that_cannot_work_is_invalid_until_it_is_mended() -> None:
    run = Simulated({"image.pool": "h200x8"})
    assert created(run.reconcile()) == []
    assert run.status.phase == "Invalid"
    assert run.condition("Accepted")[:2] == ("False", "ConfigError")
    assert "no pool h200x8" in run.condition("Accepted")[2]
    assert any("h200x8" in event for event in run.events)
    run.edit(**{"image.pool": "l4x1"})
    assert created(run.reconcile()) == ["caption", "render"]
    assert run.condition("Accepted")[:2] == ("True", "Valid")


def test_a_batch_that_the_schema_lets_pass_but_the_stage_refuses_is_invalid() -> None:
    run = begun({"pretrain.config.objective.temperature": 0.0})
    assert run.status.phase == "Invalid"
    assert "objective.temperature: Input should be greater than 0, got 0.0" in run.condition("Accepted")[2]


# The way through the stages


def test_images_wait_for_the_first_caption_shard_and_no_longer() -> None:
    run = begun()
    run.set("caption", "Running")
    run.report("caption", done=10, shards=0)
    run.reconcile()
    assert run.states()["image"] == "Waiting"
    run.report("caption", done=32, shards=1)
    assert created(run.reconcile()) == ["image"]


def test_images_start_when_captions_are_done_even_if_nobody_reported_a_shard() -> None:
    run = begun()
    run.set("caption", "Completed")
    assert created(run.reconcile()) == ["image"]


def test_pretraining_waits_for_all_images() -> None:
    run = begun()
    run.run_to("caption")
    run.set("image", "Running")
    run.report("image", done=1000, shards=7)
    assert created(run.reconcile()) == []
    run.set("image", "Completed")
    assert created(run.reconcile()) == ["pretrain"]


def test_with_a_floor_pretraining_starts_while_images_are_still_made() -> None:
    run = begun({"pretrain.config.batch.startShards": 3})
    run.run_to("caption")
    run.set("image", "Running")
    run.report("image", done=300, shards=2)
    assert created(run.reconcile()) == []
    run.report("image", done=400, shards=3)
    assert created(run.reconcile()) == ["pretrain"]


def test_evaluation_waits_for_pretraining_and_renders() -> None:
    run = begun()
    run.run_to("caption", "image", "pretrain")
    assert run.states()["evaluate"] == "Waiting"
    run.set("render", "Completed")
    assert created(run.reconcile()) == ["evaluate"]


def test_a_run_whose_stages_are_all_done_has_succeeded() -> None:
    run = begun()
    run.run_to("caption", "image", "render", "pretrain", "evaluate")
    assert run.status.phase == "Succeeded"
    assert set(run.states().values()) == {"Succeeded"}
    assert run.condition("Complete")[0] == "True"
    assert run.condition("Failed")[0] == "False"
    assert run.stage("image").done == 1024
    assert run.status.completion_time is not None


def test_no_action_on_a_run_that_is_over() -> None:
    run = begun()
    run.run_to("caption", "image", "render", "pretrain", "evaluate")
    assert run.reconcile(10_000) == ()


def test_applying_the_same_spec_again_changes_nothing() -> None:
    run = begun()
    for stage in ("caption", "render"):
        run.set(stage, "Running")
    run.reconcile()
    run.edit()
    actions = run.reconcile()
    assert kinds(actions) == ["WriteStatus"]  # only the generation that was seen
    assert run.status.observed_generation == 2


# At a glance


def test_a_status_says_stage_progress_rate_and_time_left() -> None:
    run = begun()
    run.run_to("caption")
    run.set("image", "Running")
    run.report("image", done=128, shards=1, rate=3.5)
    run.reconcile()
    status = run.status
    assert (status.phase, status.stage, status.progress) == ("Running", "image,render", "128/1024 (12 %)")
    assert (status.images_per_second, status.eta) == (3.5, "04:16")
    assert (status.replicas, status.selector) == (1, "reverie.dev/run=nano,reverie.dev/stage=image")


def test_goodput_is_the_share_of_the_time_in_which_something_ran() -> None:
    """Asked for at 0 s, runs from 10 s to 40 s, fails, is asked for again at 50 s: 30 s of 50 s."""
    run = begun({"evaluate.data": "s3://bucket/labelled"})
    run.set("caption", "Running")
    run.reconcile(10)
    run.set("caption", "Failed", failed(1))
    run.reconcile(30)
    run.reconcile(10)
    assert run.stage("caption").attempts == 2
    assert run.status.goodput == 0.6


def test_steps_that_are_done_again_are_not_productive() -> None:
    """Jobs run at 10..20, 30..40, 50..60, 60..110 s; pretraining fails at step 100 and goes on from 60 at 130 s: 40
    steps of 0.5 s are done again. At 160 s: 10 + 10 + 10 + 50 + 30 s of jobs, less 20 s, of 160 s: 0.5625."""
    run = begun()
    run.run_to("caption", "image", "render")
    run.set("pretrain", "Running")
    run.reconcile()
    run.report("pretrain", done=100, step=0.5)
    run.reconcile(50)
    run.set("pretrain", "Failed", failed(1))
    run.reconcile()
    run.reconcile(10)
    run.set("pretrain", "Running")
    run.report("pretrain", done=60)
    run.reconcile(10)
    assert run.stage("pretrain").redone_seconds == 20.0
    run.report("pretrain", done=80, step=0.5)
    run.reconcile(30)
    assert run.stage("pretrain").redone_seconds == 20.0
    assert run.status.goodput == 0.562


def test_a_run_succeeds_with_the_numbers_of_its_evaluation_even_if_its_pod_s_end_comes_last() -> None:
    run = begun()
    run.run_to("caption", "image", "render", "pretrain")
    run.set("evaluate", "Running")
    run.reconcile()
    run.set("evaluate", "Completed", alive=1)
    run.reconcile()
    assert run.status.phase == "Running"
    found = (Evaluation(name="knn/synclr", metric="shape_top1", value=81.25),)
    run.set("evaluate", "Completed", results=found)
    run.reconcile()
    assert (run.status.phase, run.status.evaluations) == ("Succeeded", found)


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://mlflow:5000/", "http://mlflow:5000/#/experiments/1/runs/abc"),
        ("postgresql://mlflow/runs", ""),  # serves no pages
    ],
)
def test_the_status_links_to_the_run_in_mlflow_once_a_stage_has_told_which_it_is(uri: str, url: str) -> None:
    run = begun({"tracking.uri": uri})
    run.set("caption", "Running")
    run.report("caption", done=1, recorded="experiments/1/runs/abc")
    run.reconcile()
    assert (run.status.tracking_uri, run.status.tracking_url) == (uri, url)
    run.report("caption", done=2)
    run.reconcile(15)
    assert run.status.tracking_url == url


def test_an_evaluation_is_never_found_to_hang() -> None:
    run = begun()
    run.run_to("caption", "image", "render", "pretrain")
    run.set("evaluate", "Running")
    run.report("evaluate", done=1, age=99_999)
    run.reconcile()
    assert run.told_hung == []


# Suspension


def test_suspend_ends_every_job_and_resume_makes_the_next_attempts() -> None:
    run = begun()
    run.set("caption", "Running")
    run.set("render", "Running")
    run.reconcile(10)
    run.edit(suspend=True)
    actions = run.reconcile(10)
    assert sum(isinstance(one, DeleteJob) for one in actions) == 2
    assert run.status.phase == "Suspended"
    assert (run.states()["caption"], run.states()["image"]) == ("Suspended", "Waiting")
    run.edit(suspend=False)
    assert created(run.reconcile(100)) == []  # pods still save
    run.remove_deleted()
    assert created(run.reconcile(5)) == ["caption", "render"]
    assert run.stage("caption").attempts == 2
    assert run.status.suspended_seconds == 100
    assert run.status.restarts == ()


def test_what_is_done_stays_done_through_a_suspension() -> None:
    run = begun()
    run.set("caption", "Completed")
    run.edit(suspend=True)
    run.reconcile()
    assert run.states()["caption"] == "Succeeded"
    assert run.states()["image"] == "Waiting"


def test_a_stage_that_waits_to_be_tried_again_is_suspended_too() -> None:
    run = begun()
    run.set("caption", "Failed", failed(1))
    run.reconcile()
    run.edit(suspend=True)
    run.reconcile()
    assert created(run.reconcile(1000)) == []
    assert run.states()["caption"] == "Suspended"


def test_a_run_may_be_made_suspended_and_can_then_still_be_edited() -> None:
    run = begun({"suspend": True})
    assert run.status.phase == "Suspended"
    assert run.status.start_time is None
    assert run.condition("Suspended")[0] == "True"
    run.edit(suspend=False)
    assert created(run.reconcile()) == ["caption", "render"]


# Scale, deadline, time to live, deletion


def test_workers_are_scaled_while_they_work() -> None:
    run = begun()
    run.run_to("caption")
    run.set("image", "Running")
    run.reconcile()
    run.edit(**{"image.replicas": 4})
    assert ScaleJob(run.stage("image").job_name, 4) in run.reconcile()


def test_a_run_that_takes_too_long_fails_and_ends_its_jobs() -> None:
    run = begun({"activeDeadlineSeconds": 60})
    run.set("caption", "Running")
    run.set("render", "Running")
    assert Wait(50.0) in run.reconcile(10)
    actions = run.reconcile(50)
    assert run.condition("Failed")[:2] == ("True", "DeadlineExceeded")
    assert sum(isinstance(one, DeleteJob) for one in actions) == 2


def test_time_in_suspension_does_not_count_towards_the_deadline() -> None:
    run = begun({"activeDeadlineSeconds": 60})
    run.edit(suspend=True)
    run.reconcile(10)
    run.remove_deleted()
    run.reconcile(1000)
    run.edit(suspend=False)
    run.reconcile()
    run.reconcile(49)
    assert run.condition("Failed")[0] == "False"
    run.reconcile(1)
    assert run.condition("Failed")[:2] == ("True", "DeadlineExceeded")


def test_a_finished_resource_deletes_itself_when_its_time_is_over() -> None:
    run = begun({"ttlSecondsAfterFinished": 100})
    run.run_to("caption", "image", "render", "pretrain", "evaluate")
    assert run.reconcile(40) == (Wait(60.0),)
    run.now += timedelta(seconds=60)
    assert run.decide() == (DeleteRun(),)


def test_deletion_ends_the_jobs_first_and_then_lets_the_resource_go() -> None:
    run = begun()
    run.seen = replace(run.seen, deleting=True)
    assert kinds(run.reconcile()) == ["DeleteJob", "DeleteJob"]
    assert run.reconcile(30) == ()
    run.remove_deleted()
    assert run.decide() == (RemoveFinalizer(),)
    assert run.gone
    assert run.decide() == ()


def test_a_controller_that_cannot_read_a_spec_lets_the_run_go_on() -> None:
    run = begun()
    run.set("caption", "Running")
    run.reconcile()
    run.seen = replace(run.seen, spec=None, invalid="spec.fancy: no such key")
    actions = run.reconcile()
    assert kinds(actions) == ["WriteStatus"]
    assert run.condition("Accepted")[:2] == ("False", "Unreadable")
    assert run.status.phase == "Running"


def test_a_decision_depends_on_nothing_but_what_is_observed_and_the_time() -> None:
    run = Simulated()
    assert reconcile(run.seen, START) == reconcile(run.seen, START)
