"""Requests to the API server, as they are counted."""

import pytest

from controller.api import resource_of
from controller.apply import jobs_path, runs_path


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (runs_path(), "reveries"),
        (runs_path("ml"), "reveries"),
        (runs_path("ml", "nano"), "reveries"),
        (f"{runs_path('ml', 'nano')}/status", "reveries/status"),
        (jobs_path("ml", "nano-image-1"), "jobs"),
        ("/api/v1/pods", "pods"),
        ("/api/v1/namespaces/ml/pods", "pods"),
        ("/apis/events.k8s.io/v1/namespaces/ml/events", "events"),
        ("/apis/coordination.k8s.io/v1/namespaces/ml/leases/reverie-controller", "leases"),
    ],
)
def test_a_request_counts_for_its_resource_whatever_the_object_and_the_namespace(path: str, resource: str) -> None:
    assert resource_of(path) == resource
