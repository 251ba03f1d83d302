"""A status says how every replica is, and of what failed the reason."""

import pytest
from torchx.specs import NONE, AppState, ReplicaState

from tests.torchx_plugins.volcano.objects import pod, vcjob
from torchx_plugins.volcano.status import app_state, describe, failure, lacks_pods, words


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("", AppState.SUBMITTED),
        ("Pending", AppState.PENDING),
        ("Running", AppState.RUNNING),
        ("Restarting", AppState.PENDING),
        ("Completed", AppState.SUCCEEDED),
        ("Terminated", AppState.FAILED),
        ("Failed", AppState.FAILED),
        ("Aborted", AppState.CANCELLED),
        ("Dreaming", AppState.UNKNOWN),
    ],
)
def test_volcanos_phases_are_torchxs_states(phase: str, state: AppState) -> None:
    assert app_state(vcjob(phase)) == state


def test_each_replica_has_its_state_and_its_host() -> None:
    told = describe("ml:app-1", vcjob("Running", 3, retryCount=1), [pod(0), pod(2, "Pending")])
    replicas = told.roles_statuses[0].replicas
    assert [one.state for one in replicas] == [ReplicaState.RUNNING, ReplicaState.PENDING, ReplicaState.PENDING]
    assert replicas[0].hostname == "app-1-pretrain-0.app-1.ml.svc"
    assert (told.num_restarts, told.roles[0].num_replicas, told.msg) == (1, 3, NONE)


def test_what_ended_the_job_is_told_before_those_who_lost_a_peer() -> None:
    pods = [
        pod(0, "Failed", exitCode=1, reason="Error", message="RuntimeError: Connection reset by peer\n"),
        pod(1, "Failed", exitCode=65, reason="Error", message="loading\nerror: images/000001.tar: sample 3 is cut\n"),
    ]
    told = describe("ml:app-1", vcjob("Terminated"), pods)
    first, second = told.msg.splitlines()
    assert first == (
        "pretrain/1 ended with exit code 65 (DataError): error: images/000001.tar: sample 3 is cut (on node-7)"
    )
    assert second.startswith("pretrain/0 ended with exit code 1: RuntimeError: Connection reset by peer")
    assert told.roles_statuses[0].replicas[1].structured_error_msg == first


def test_a_thousand_failures_are_a_few_lines() -> None:
    told = describe("ml:app-1", vcjob("Failed", 1000), [pod(k, "Failed", exitCode=1) for k in range(1000)])
    assert told.msg.splitlines()[-1] == "and 995 more failed"


def test_signals_are_named() -> None:
    assert failure(pod(0, "Failed", exitCode=137, reason="OOMKilled")).startswith(
        "pretrain/0 ended with signal SIGKILL (OOMKilled): without a word"
    )
    assert words(143) == "exit code 143 (Stopped)"
    assert words(139) == "signal SIGSEGV"


def test_a_job_whose_pods_are_refused_says_why() -> None:
    event = (
        r"Error creating pods: [failed to create pod app-1-pretrain-0, err: &errors.StatusError{ErrStatus:v1.Status{"
        r'Status:"Failure", Message:"pods \"app-1-pretrain-0\" is forbidden: exceeded quota: gpus", Code:403}}]'
    )
    job = vcjob("Pending")
    assert lacks_pods(job, [])
    assert describe("ml:app-1", job, [], [event]).msg == (
        'its pods cannot be made: pods "app-1-pretrain-0" is forbidden: exceeded quota: gpus; '
        "delete finished jobs, ask for less, or raise the namespace's quota"
    )


def test_a_job_that_waits_says_for_what() -> None:
    waiting = pod(0, "Pending")
    waiting["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have GPUs"}
        ],
    }
    told = describe("ml:app-1", vcjob("Pending"), [waiting])
    assert told.msg == "pretrain waits: Unschedulable: 0/3 nodes have GPUs"
