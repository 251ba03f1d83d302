"""Objects of the API server as what is decided on, and what was decided as requests."""

import json
from typing import Any

import pytest

from controller.actions import (
    AddFinalizer,
    CreateJob,
    DeleteJob,
    DeleteRun,
    Emit,
    RemoveFinalizer,
    ScaleJob,
    WriteStatus,
)
from controller.api import ApiError, Json
from controller.apply import apply
from controller.observe import observe, run_of, trim_job, trim_pod, trim_run
from controller.status import Evaluation, Status, written
from tests.controller.objects import reverie
from tests.controller.simulated import Simulated


def stored(**meta: Any) -> Json:
    """A resource as the API server keeps it."""
    made = reverie()
    made["metadata"] |= {"namespace": "ml", "uid": "u-1", "resourceVersion": "7", "generation": 3, **meta}
    return made


def job(uid: str = "u-1", **status: Any) -> Json:
    meta = {
        "name": "nano-image-1",
        "namespace": "ml",
        "labels": {"reverie.dev/run": "nano"},
        "ownerReferences": [{"uid": uid}],
    }
    return {"metadata": meta, "spec": {"tasks": [{"replicas": 3, "template": {"big": 1}}]}, "status": status}


def pod(index: int, phase: str, **ended: Any) -> Json:
    labels = {"reverie.dev/run": "nano", "volcano.sh/job-name": "nano-image-1", "volcano.sh/task-spec": "image",
              "volcano.sh/task-index": str(index)}  # fmt: skip
    states = [{"name": "image", "state": {"terminated": ended} if ended else {}, "image": "x"}]
    return {
        "metadata": {"name": f"p-{index}", "namespace": "ml", "labels": labels},
        "spec": {"nodeName": "node-7", "containers": []},
        "status": {"phase": phase, "containerStatuses": states},
    }


def test_jobs_and_pods_are_read_into_what_a_decision_needs() -> None:
    pods = [pod(0, "Running"), pod(1, "Pending"), pod(2, "Failed", exitCode=65, message="error: no tar",
                                                      finishedAt="2026-11-22T18:00:05Z")]  # fmt: skip
    seen = observe(
        stored(finalizers=["reverie.dev/jobs"]),
        [trim_job(job(state={"phase": "Running", "message": "m"}, pending=9))],
        [trim_pod(one) for one in pods],
        {},
    )
    (found,) = seen.jobs
    assert (found.name, found.phase, found.replicas, found.running, found.alive) == ("nano-image-1", "Running", 3, 1, 2)
    (failure,) = found.failures
    assert failure.exit_code == 65
    assert "image/2 ended with exit code 65" in failure.message
    assert "no tar" in failure.message
    assert failure.finished is not None
    assert (seen.finalizer, seen.deleting, seen.generation) == (True, False, 3)


def test_hot_spares_are_counted_for_themselves_and_are_no_part_of_the_gang() -> None:
    """A gang of two, of which one runs and one waits for a node; a spare that runs and one that was ended."""
    gang = job(state={"phase": "Running"})
    gang["spec"]["tasks"] = [{"name": "pretrain", "replicas": 2}, {"name": "spare", "replicas": 2}]
    pods = [pod(0, "Running"), pod(1, "Pending"), pod(2, "Running"), pod(3, "Failed", exitCode=137)]
    del pods[1]["spec"]["nodeName"]
    for one in pods:
        one["metadata"]["labels"]["reverie.dev/stage"] = "pretrain"
    for one in pods[2:]:
        one["metadata"]["labels"]["volcano.sh/task-spec"] = "spare"
    (found,) = observe(stored(), [trim_job(gang)], [trim_pod(one) for one in pods], {}).jobs
    assert (found.replicas, found.running, found.alive, found.waiting) == (2, 1, 2, 1)
    assert (found.spares, found.warm, found.failures) == (2, 1, ())


def test_a_job_whose_spares_volcano_left_out_has_none_and_one_without_the_task_cannot_have_any() -> None:
    gang = job()
    gang["spec"]["tasks"].append({"name": "spare"})
    (found,) = observe(stored(), [trim_job(gang)], [], {}).jobs
    assert found.spares == 0
    (found,) = observe(stored(), [trim_job(job())], [], {}).jobs
    assert found.spares is None


def test_jobs_of_an_earlier_resource_of_the_name_are_not_ours() -> None:
    assert observe(stored(), [trim_job(job(uid="u-0"))], [], {}).jobs == ()


def test_a_job_that_volcano_has_not_seen_has_no_phase() -> None:
    (found,) = observe(stored(), [trim_job(job())], [], {}).jobs
    assert (found.phase, found.ended) == ("", False)


def test_a_spec_of_another_release_is_told_and_no_crash() -> None:
    made = stored()
    made["spec"]["fancy"] = 1
    seen = observe(made, [], [], {})
    assert seen.spec is None
    assert "fancy" in seen.invalid


def test_what_is_kept_of_a_pod_and_a_job_is_small() -> None:
    assert set(trim_pod(pod(0, "Running"))) == {"metadata", "status"}
    assert "containers" not in trim_pod(pod(0, "Failed"))["spec"]
    assert "template" not in trim_job(job())["spec"]["tasks"][0]
    assert "managedFields" not in trim_run(stored(managedFields=[{}]))["metadata"]
    assert run_of(job()) == "ml/nano"
    assert run_of({"metadata": {"name": "x", "namespace": "ml"}}) is None


def test_a_pod_that_is_placed_or_ready_is_the_same_pod_until_its_phase_changes() -> None:
    waits, placed = pod(0, "Pending"), pod(0, "Pending")
    del waits["spec"]["nodeName"]
    placed["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    assert trim_pod(waits) == trim_pod(placed)
    assert trim_pod(placed) != trim_pod(pod(0, "Running"))


def test_a_status_is_written_and_read_back_as_the_same() -> None:
    run = Simulated()
    run.reconcile()
    body = json.loads(json.dumps(written(run.status)))
    assert Status.model_validate_json(json.dumps(body)) == run.status
    assert body["resolved"]["evaluate"]["step"] is None
    assert "completionTime" not in body


class Recorded:
    """An API that keeps what it is asked. `refuse` is raised by `create`."""

    def __init__(self, there: Json | None = None) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.there = there

    def apply(self, path: str, body: Json) -> None:
        self.calls.append(("apply", path, body))

    def create(self, path: str, body: Json) -> None:
        self.calls.append(("create", path, body))
        if self.there:
            raise ApiError(409, "there is one")

    def get(self, path: str) -> Json:
        assert self.there
        return self.there

    def patch(self, path: str, body: Any) -> None:
        self.calls.append(("patch", path, body))

    def delete(self, path: str, **options: Any) -> None:
        self.calls.append(("delete", path, options))


def done(action: Any, api: Recorded | None = None) -> tuple[str, str, Any]:
    api = api or Recorded()
    of: Any = api
    apply(of, stored(), action, "me")
    return api.calls[-1]


RUN = "/apis/reverie.dev/v1alpha1/namespaces/ml/reveries/nano"
JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/ml/jobs"


def test_a_status_is_applied_only_if_nobody_changed_the_resource_since() -> None:
    verb, path, body = done(WriteStatus(Status()))
    assert (verb, path) == ("apply", f"{RUN}/status")
    assert body["metadata"] == {"name": "nano", "namespace": "ml", "uid": "u-1", "resourceVersion": "7"}


def test_the_finalizer_is_put_on_and_taken_off() -> None:
    assert done(AddFinalizer())[2]["metadata"]["finalizers"] == ["reverie.dev/jobs"]
    assert done(RemoveFinalizer())[2]["metadata"]["finalizers"] == []


def test_jobs_are_made_scaled_and_ended_with_their_pods() -> None:
    body = {"metadata": {"name": "j", "namespace": "ml"}}
    assert done(CreateJob(body)) == ("create", JOBS, body)
    assert done(ScaleJob("j", 4)) == (
        "patch", f"{JOBS}/j", [{"op": "add", "path": "/spec/tasks/0/replicas", "value": 4}],
    )  # fmt: skip
    assert done(ScaleJob("j", 1, task=1))[2] == [{"op": "add", "path": "/spec/tasks/1/replicas", "value": 1}]
    assert done(DeleteJob("j")) == ("delete", f"{JOBS}/j", {"propagationPolicy": "Foreground"})
    assert done(DeleteRun())[:2] == ("delete", RUN)


def test_a_job_that_is_there_already_is_ours_if_we_own_it() -> None:
    body = {"metadata": {"name": "j", "namespace": "ml"}}
    ours = {"metadata": {"ownerReferences": [{"uid": "u-1"}]}}
    done(CreateJob(body), Recorded(ours))
    others: list[Json] = [{"metadata": {}}, {"metadata": {**ours["metadata"], "deletionTimestamp": "now"}}]
    for other in others:
        with pytest.raises(ApiError):
            done(CreateJob(body), Recorded(other))


def test_an_event_is_about_the_resource() -> None:
    _, path, body = done(Emit("Warning", "Failed", "caption: no such model"))
    assert path == "/apis/events.k8s.io/v1/namespaces/ml/events"
    assert body["regarding"]["uid"] == "u-1"
    assert (body["type"], body["reason"], body["note"]) == ("Warning", "Failed", "caption: no such model")


def results(message: str) -> tuple[Evaluation, ...]:
    """What is read of an evaluation whose pod succeeded with this as its last words."""
    made = pod(0, "Succeeded", exitCode=0, message=message)
    made["metadata"]["labels"]["reverie.dev/stage"] = "evaluate"
    (found,) = observe(stored(), [trim_job(job())], [trim_pod(made)], {}).jobs
    return found.results


def test_the_results_of_an_evaluation_are_what_its_pod_has_left_and_twins_are_one() -> None:
    said = '{"values":[["knn/synclr","shape_top1",81.25],["knn/synclr","shape_top1",81.5]]}'
    assert results(said) == (Evaluation(name="knn/synclr", metric="shape_top1", value=81.5),)


@pytest.mark.parametrize("message", ["", "Killed", '{"values":[["a","b",NaN]]}', '{"values":[["a"]]}'])
def test_other_last_words_are_no_results(message: str) -> None:
    assert results(message) == ()
