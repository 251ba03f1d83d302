"""The scheduler towards TorchX and towards a cluster: without one, and with as few calls as there can be."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from torchx.runner.api import Runner
from torchx.specs import AppState

from components.errors import LaunchError
from config.yamls import load
from tests.components.launching import appdef
from tests.torchx_plugins.schedulers.apiserver import ApiServer, running
from torchx_plugins.schedulers.kubernetes import Kubernetes, create

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(replicas=1000)


@pytest.fixture
def scheduler(server: ApiServer) -> Iterator[Kubernetes]:
    from kubernetes import client

    with ExitStack() as stack:
        host = stack.enter_context(running(server))
        api = stack.enter_context(client.ApiClient(client.Configuration(host=host)))
        yield create("torchx", client=api)


def test_a_dry_run_needs_no_cluster_no_kubeconfig_and_no_docker(tmp_path: Path) -> None:
    torchx = str(Path(sys.executable).parent / "torchx")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "TORCHX"))}
    environment |= {"HOME": str(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:1"}
    command = [torchx, "run", "--dryrun", "-s", "kubernetes", "components/pretrain.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    job = load(done.stdout.partition("=== SCHEDULER REQUEST ===")[2])
    assert (job["kind"], job["spec"]["tasks"][0]["replicas"]) == ("Job", 1)


def test_torchx_takes_this_scheduler_for_kubernetes() -> None:
    from torchx.schedulers import get_scheduler_factories

    assert isinstance(get_scheduler_factories()["kubernetes"](session_name="test"), Kubernetes)


def test_a_job_is_submitted_as_it_was_shown(scheduler: Kubernetes, server: ApiServer) -> None:
    with Runner("test", {"kubernetes": lambda session_name, **_: scheduler}) as runner:
        app = appdef("components/generate.py", "--root", "s3://bucket/run", "--replicas", "1000", "--pool", "l4x1")
        shown = runner.dryrun(app, "kubernetes", {"namespace": "ml", "queue": "reverie-generation"})
        handle = runner.schedule(shown)
    assert [method for method, _ in server.calls] == ["POST"]
    assert server.bodies == [shown.request.resource]
    assert handle == f"kubernetes://test/ml:{shown.request.resource['metadata']['name']}"
    assert load(str(shown.request)) == shown.request.resource


def test_a_root_that_pods_cannot_share_is_not_submitted(scheduler: Kubernetes, server: ApiServer) -> None:
    with Runner("test", {"kubernetes": lambda session_name, **_: scheduler}) as runner:
        shown = runner.dryrun(appdef("components/pretrain.py", "--nodes", "2"), "kubernetes")
        with pytest.raises(LaunchError, match="--root runs/nano is a folder of each pod"):
            runner.schedule(shown)
    assert server.calls == []


@pytest.mark.parametrize("option", ["service_account", "priority_class"])
def test_a_job_whose_pods_could_never_be_made_is_not_submitted(
    scheduler: Kubernetes, server: ApiServer, option: str
) -> None:
    with Runner("test", {"kubernetes": lambda session_name, **_: scheduler}) as runner:
        app = appdef("components/pretrain.py", "--root", "s3://bucket/run")
        shown = runner.dryrun(app, "kubernetes", {"namespace": "ml", option: "nobody"})
        with pytest.raises(LaunchError, match=f"no {option.replace('_', ' ')} nobody; .*-cfg {option}=NAME"):
            runner.schedule(shown)
    assert [method for method, _ in server.calls] == ["GET", "POST"], "the second looks for other reasons, as a dry run"


def test_a_kubeconfig_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("clusters: [")
    torchx = str(Path(sys.executable).parent / "torchx")
    command = [torchx, "run", "-s", "kubernetes", "components/pretrain.py", "--root", "s3://bucket/run"]
    env = os.environ | {"KUBECONFIG": str(tmp_path / "config")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "KUBECONFIG names the file" in done.stderr.splitlines()[-1]


def test_a_status_takes_a_call_and_one_per_500_pods(scheduler: Kubernetes, server: ApiServer) -> None:
    told = scheduler.describe("ml:app-1")
    assert told is not None
    assert (told.state, len(told.roles_statuses[0].replicas)) == (AppState.RUNNING, 1000)
    assert len(server.calls) == 1 + 2


def test_a_log_takes_one_call(scheduler: Kubernetes, server: ApiServer) -> None:
    lines = list(scheduler.log_iter("ml:app-1", "pretrain", 7, regex="step|done"))
    assert lines == ["12:01 pretrain step 1\n", "12:02 done\n"]
    assert len(server.calls) == 1


def test_a_list_takes_one_call(scheduler: Kubernetes, server: ApiServer) -> None:
    assert [(one.app_id, one.state) for one in scheduler.list({"namespace": "ml"})] == [("ml:app-1", AppState.RUNNING)]
    assert len(server.calls) == 1


def test_cancel_asks_volcano_and_delete_removes(scheduler: Kubernetes, server: ApiServer) -> None:
    scheduler.cancel("ml:app-1")
    command = server.bodies[-1]
    assert (command["kind"], command["action"], command["target"]["uid"]) == ("Command", "AbortJob", "u-1")
    scheduler.delete("ml:app-1")
    assert [method for method, _ in server.calls] == ["GET", "POST", "DELETE"]


def test_an_app_that_is_gone_is_no_error(scheduler: Kubernetes) -> None:
    assert scheduler.describe("ml:gone") is None
    assert not scheduler.exists("ml:gone")
    scheduler.cancel("ml:gone")
    scheduler.delete("ml:gone")


@pytest.mark.parametrize("act", ["describe", "cancel", "delete"])
def test_a_refusal_is_one_line(scheduler: Kubernetes, server: ApiServer, act: str) -> None:
    server.refusal = (401, "Unauthorized")
    with pytest.raises(LaunchError, match="the cluster does not know who you are"):
        getattr(scheduler, act)("ml:app-1")


def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    from kubernetes import client

    scheduler = create("torchx", client=client.ApiClient(client.Configuration(host="http://127.0.0.1:1")))
    with pytest.raises(LaunchError, match=r"http://127\.0\.0\.1:1 does not answer: .*is the cluster up\?"):
        scheduler.list({"namespace": "ml"})


def test_without_a_kubeconfig_it_says_so() -> None:
    with pytest.raises(LaunchError, match=r"no cluster: .*; KUBECONFIG names the file"):
        create("torchx").list({"namespace": "ml"})


@pytest.mark.parametrize("app_id", ["app-1", ":app-1", "ml:"])
def test_an_id_needs_a_namespace(scheduler: Kubernetes, app_id: str, server: Any) -> None:
    with pytest.raises(LaunchError, match="kubernetes://torchx/<namespace>:<name>"):
        scheduler.describe(app_id)
    assert server.calls == []
