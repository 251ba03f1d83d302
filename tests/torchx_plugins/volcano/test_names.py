"""Names for any app, role and number of replicas are ones that Kubernetes takes, and as Volcano makes them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import LaunchError
from torchx_plugins.volcano.names import host, hosts, job_name, label, pod_name, task_names

DNS = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?$")  # of a Service, the strictest: a letter first


@given(
    app=st.text(max_size=80), role=st.from_regex(r"[a-zA-Z0-9_.-]{1,30}", fullmatch=True), replicas=st.integers(1, 1000)
)
def test_every_name_is_a_dns_label(app: str, role: str, replicas: int) -> None:
    try:
        task = task_names([role])[role]
    except LaunchError:
        assert not label(role)
        return
    job = job_name(app, "q1w2e3r4", {task: replicas})
    assert DNS.match(job)
    assert len(pod_name(job, task, replicas - 1)) <= 63
    assert len(job) <= 63


@pytest.mark.parametrize("role", ["pre-train", "pre_train", "Pre Train", "pre-train.py"])
def test_names_with_dashes_work(role: str) -> None:
    task = task_names([role])[role]
    assert host(job_name("my-app", "q1", {task: 2}), task, 1).startswith(f"my-app-q1-{task}-1.my-app-q1")


def test_a_job_is_led_by_a_letter_as_its_service_must_be() -> None:
    assert job_name("7b", "q1", {"caption": 1}) == "job-7b-q1"
    assert job_name("图像", "q1", {"caption": 1}) == "job-q1"


def test_two_roles_of_one_name_are_refused() -> None:
    with pytest.raises(LaunchError, match="role 'a_b': another role is called a-b in Kubernetes too"):
        task_names(["a-b", "a_b"])


def test_the_hosts_of_a_thousand_replicas_fit_into_a_variable() -> None:
    """Linux takes 128 KiB; Volcano writes them all into VC_<TASK>_HOSTS."""
    longest = job_name("x" * 80, "q1w2e3r4", {"image": 1000})
    assert len(hosts(longest, "image", 1000)) < 131_072
    assert hosts("job", "image", 2) == "job-image-0.job,job-image-1.job"
