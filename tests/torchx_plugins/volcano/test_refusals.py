"""Whatever a cluster answers, a person reads one line with what to do."""

import json

import pytest

from torchx_plugins.volcano.refusals import no_such_api, refusal


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (401, "Unauthorized", "login has expired: log in again"),
        (404, "404 page not found", "the cluster has no Volcano"),
        (404, "the server could not find the requested resource", "the cluster has no Volcano"),
        (404, 'namespaces "ml" not found', "-cfg namespace=NAME"),
        (403, 'jobs.batch.volcano.sh is forbidden: User "me" cannot create resource "jobs"', "you have no permission"),
        (403, "pods is forbidden: exceeded quota: gpus, requested: 8", "raise the namespace's quota"),
        (
            403,
            'admission webhook denied the request: unable to find job queue: queue.scheduling.volcano.sh "x" not found',
            "kubectl get queues",
        ),
        (500, 'failed calling webhook "mutatejob.volcano.sh": connection refused', "is volcano-admission running?"),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', "the line names what it minds"),
        (403, "pods is forbidden: no PriorityClass with name x was found", "kubectl get priorityclasses"),
        (409, 'jobs "a" already exists', "submit again"),
        (418, "short and stout", "short and stout (418)"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, said: str, advice: str) -> None:
    line = refusal("submit job ml:a", status, json.dumps({"kind": "Status", "message": said}))
    assert line.startswith("cannot submit job ml:a: ")
    assert advice in line
    assert "\n" not in line


def test_an_answer_that_is_no_status_is_shown_as_it_is() -> None:
    assert "Bad Gateway" in refusal("list jobs", 502, "<html>\nBad Gateway\n</html>")


def test_a_missing_job_is_no_missing_volcano() -> None:
    assert not no_such_api(404, 'jobs.batch.volcano.sh "a" not found')
