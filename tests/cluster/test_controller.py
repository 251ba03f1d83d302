"""The loop against a real API server, with the rights that the chart gives it and no other.

Volcano is there as a type only: the test says what becomes of jobs.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import yaml
from kubernetes import client
from kubernetes import config as kubeconfig

from config import RetryableError
from config.report import VARIABLE, Latest
from config.report import serve as serve_progress
from controller.__main__ import serve
from controller.actions import SyncJob
from controller.api import Api as Connection
from controller.apply import apply
from controller.config import ControllerConfig
from controller.render import PROGRESS_PORT
from tests.cluster import programs, rights
from tests.cluster.api import MERGE, Api, ApiError
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.test_crd import CRDS, REVERIES, install
from tests.cluster.waiting import eventually
from tests.controller.objects import Json, reverie
from tests.helm.chart import helm
from tests.servers.built import module_folder
from torchx_plugins.volcano.commands import commands_path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]  # the first run builds everything

JOBS: Final = "/apis/batch.volcano.sh/v1alpha1/namespaces/default/jobs"
COMMANDS: Final = commands_path("default")
LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/default/leases/reverie-controller"
STAGES: Final = ("caption", "render", "image", "pretrain", "evaluate")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane"), volcano=False) as plane:
        api = plane.api()
        install(api)
        for one in volcano_types():
            api.post(CRDS, one)
        eventually("Volcano's types", lambda: known(api, JOBS) and known(api, COMMANDS))
        yield plane


def volcano_types() -> Iterator[Json]:
    """Of jobs and of commands, from Volcano's own chart."""
    chart = module_folder(programs.HERE / "volcano", "volcano.sh/volcano") / "installer/helm/chart/volcano"
    rendered = yaml.safe_load_all(helm("template", "volcano", str(chart)).stdout)
    for one in rendered:
        if one and one["metadata"]["name"] in ("jobs.batch.volcano.sh", "commands.bus.volcano.sh"):
            yield one


def known(api: Api, path: str) -> bool:
    try:
        api.get(path)
    except (ApiError, ValueError):  # the second: a path of no type is answered in plain text
        return False
    return True


def connection(plane: ControlPlane) -> Connection:
    """As the service account of the chart's controller."""
    if not known(plane.api(), "/api/v1/namespaces/default/serviceaccounts/reverie-controller"):
        rights.grant(plane, "default")
    configuration = client.Configuration()
    file = rights.kubeconfig(plane, "default", plane.folder / "controller.kubeconfig")
    kubeconfig.load_kube_config(str(file), client_configuration=configuration)
    return Connection(client.ApiClient(configuration))


class Replica:
    """One controller in a thread. `lost` is set if it ended because its lease was lost."""

    def __init__(self, plane: ControlPlane, identity: str) -> None:
        config = ControllerConfig(
            namespace="default",
            address="127.0.0.1",
            port=0,
            lease_seconds=3,
            resync_seconds=2.0,
            poll_seconds=1.0,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(config, connection(plane), identity))
        self.lost = False
        self._thread.start()

    def _run(self, config: ControllerConfig, api: Connection, identity: str) -> None:
        try:
            serve(config, api, self._stop, identity)
        except RetryableError:
            self.lost = True

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextmanager
def replica(plane: ControlPlane, identity: str = "one") -> Iterator[Replica]:
    running = Replica(plane, identity)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def controller(plane: ControlPlane) -> Iterator[Replica]:
    with replica(plane, "first") as running:
        yield running


def run(api: Api, name: str) -> Json:
    return api.get(f"{REVERIES}/{name}")


def phase(api: Api, name: str) -> str:
    return str(run(api, name).get("status", {}).get("phase", ""))


def jobs(api: Api, name: str, stage: str = "") -> list[Json]:
    selector = f"reverie.dev/run%3D{name}" + (f",reverie.dev/stage%3D{stage}" if stage else "")
    found: list[Json] = api.get(f"{JOBS}?labelSelector={selector}")["items"]
    return found


def newest(api: Api, name: str, stage: str) -> Json:
    """The job of a stage, as soon as it is there."""
    found: list[Json] = eventually(f"the job of {stage}", lambda: jobs(api, name, stage))
    return max(found, key=lambda one: int(one["metadata"]["labels"]["reverie.dev/attempt"]))


def becomes(api: Api, name: str, stage: str, state: str) -> None:
    """What Volcano would say of the newest job of a stage."""
    job = newest(api, name, stage)
    api.patch(f"{JOBS}/{job['metadata']['name']}/status", {"status": {"state": {"phase": state}}}, MERGE)


def stage_is(api: Api, name: str, stage: str, state: str) -> None:
    def now() -> bool:
        stages = {one["name"]: one["state"] for one in run(api, name)["status"]["stages"]}
        return stages[stage] == state

    eventually(f"{stage} {state}", now)


def test_what_is_applied_may_hold_any_text(plane: ControlPlane) -> None:
    """Last words of pods come into a status: gloo's end with a beach."""
    configuration = client.Configuration()
    kubeconfig.load_kube_config(str(plane.kubeconfig), client_configuration=configuration)
    path = "/api/v1/namespaces/default/configmaps/said"
    said = "GLHF! \U0001f3d6\ufe0f \\ud83c \x1b[31m \x00 \x7f \x85 \u2028 \ufeff \uffff é"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "said"}, "data": {"words": said}}
    Connection(client.ApiClient(configuration)).apply(path, body)
    assert plane.api().get(path)["data"]["words"] == said


def test_one_resource_becomes_jobs_stage_by_stage_and_succeeds(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("whole"))
    for stage in STAGES:
        becomes(api, "whole", stage, "Running")
        stage_is(api, "whole", stage, "Running")
        becomes(api, "whole", stage, "Completed")
    eventually("the end", lambda: phase(api, "whole") == "Succeeded")
    made = run(api, "whole")
    assert made["metadata"]["finalizers"] == ["reverie.dev/jobs"]
    assert {one["metadata"]["labels"]["reverie.dev/stage"] for one in jobs(api, "whole")} == set(STAGES)
    assert len(jobs(api, "whole")) == len(STAGES)
    owners = {one["metadata"]["ownerReferences"][0]["uid"] for one in jobs(api, "whole")}
    assert owners == {made["metadata"]["uid"]}
    managers = {one["manager"] for one in made["metadata"]["managedFields"] if one.get("subresource") == "status"}
    assert managers == {"reverie-controller"}


def test_applying_the_same_spec_twice_changes_nothing(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("twice"))
    newest(api, "twice", "render")
    eventually("pending", lambda: phase(api, "twice") == "Pending")
    before = run(api, "twice")
    api.patch(f"{REVERIES}/twice", {"spec": reverie()["spec"]}, MERGE)
    time.sleep(5)  # two looks at everything
    assert run(api, "twice")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_wrong_spec_is_told_in_status_and_event(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("wrong", {"image.pool": "h200x8"}))
    eventually("invalid", lambda: phase(api, "wrong") == "Invalid")
    conditions = {one["type"]: one for one in run(api, "wrong")["status"]["conditions"]}
    assert "no pool h200x8" in conditions["Accepted"]["message"]

    def told() -> list[str]:
        events = api.get("/apis/events.k8s.io/v1/namespaces/default/events")["items"]
        return [one["note"] for one in events if one["regarding"]["name"] == "wrong"]

    eventually("the event", lambda: any("h200x8" in note for note in told()))
    assert jobs(api, "wrong") == []


def test_suspend_ends_the_jobs_and_resume_makes_new_ones(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("paused"))
    becomes(api, "paused", "caption", "Running")
    stage_is(api, "paused", "caption", "Running")
    api.patch(f"{REVERIES}/paused", {"spec": {"suspend": True}}, MERGE)
    eventually("no job", lambda: jobs(api, "paused") == [])
    assert phase(api, "paused") == "Suspended"
    api.patch(f"{REVERIES}/paused", {"spec": {"suspend": False}}, MERGE)
    assert newest(api, "paused", "caption")["metadata"]["labels"]["reverie.dev/attempt"] == "2"


def test_kubectl_scale_reaches_the_job_that_works(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("wide"))
    becomes(api, "wide", "caption", "Completed")
    becomes(api, "wide", "image", "Running")
    api.patch(f"{REVERIES}/wide/scale", {"spec": {"replicas": 5}}, MERGE)
    eventually("five", lambda: newest(api, "wide", "image")["spec"]["tasks"][0]["replicas"] == 5)


def test_volcano_is_asked_to_look_again_at_a_job(plane: ControlPlane, controller: Replica) -> None:
    """When it is asked, tests/controller/test_overlooked.py says."""
    api = plane.api()
    api.post(REVERIES, reverie("alone"))
    name = newest(api, "alone", "caption")["metadata"]["name"]
    apply(connection(plane), run(api, "alone"), SyncJob(name), "test")
    asked = [(one["target"]["name"], one["action"]) for one in api.get(COMMANDS)["items"]]
    assert asked == [(name, "SyncJob")]


def test_images_start_on_the_first_caption_shard_that_a_pod_tells_of(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("eager"))
    becomes(api, "eager", "caption", "Running")
    stage_is(api, "eager", "caption", "Running")
    latest = Latest()
    latest.put("caption", 10, 256, 2.0, {"shards": 0})
    server = serve_progress({VARIABLE: str(PROGRESS_PORT)}, latest)
    assert server, f"port {PROGRESS_PORT} is taken"
    try:
        pod(api, "eager", newest(api, "eager", "caption"), "127.0.0.1")
        eventually("progress", lambda: run(api, "eager")["status"]["progress"] == "10/256 (3 %)")
        assert jobs(api, "eager", "image") == []
        latest.put("caption", 64, 256, 2.0, {"shards": 2})
        newest(api, "eager", "image")
        status = run(api, "eager")["status"]
        assert (status["stage"], status["stages"][0]["shards"]) == ("caption,image,render", 2)
    finally:
        server.shutdown()
        server.server_close()


def pod(api: Api, name: str, job: Json, address: str) -> None:
    """A running pod of a job, as far as the API server knows."""
    labels = {**job["metadata"]["labels"], "volcano.sh/job-name": job["metadata"]["name"]}
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "main", "image": "none"}]}
    api.post(pods, {"metadata": {"name": f"{name}-0", "labels": labels}, "spec": spec})
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    api.patch(f"{pods}/{name}-0/status", {"status": status})


def test_deletion_leaves_nothing(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    api.post(REVERIES, reverie("short"))
    newest(api, "short", "caption")
    api.delete(f"{REVERIES}/short")
    eventually("gone", lambda: not known(api, f"{REVERIES}/short"))
    assert jobs(api, "short") == []


def test_a_second_replica_takes_over_at_once_when_the_first_ends(plane: ControlPlane, controller: Replica) -> None:
    api = plane.api()
    first = api.get(LEASE)["spec"]["holderIdentity"]
    assert first == "first"
    with replica(plane, "second"):
        controller.stop()
        eventually("the second leads", lambda: api.get(LEASE)["spec"]["holderIdentity"] == "second", 10)
        api.post(REVERIES, reverie("after"))
        newest(api, "after", "caption")
    assert not controller.lost
