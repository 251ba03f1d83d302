"""What an API server answers about a job: objects cut down to what a status reads."""

from typing import Any


def vcjob(phase: str = "Running", replicas: int = 2, **status: Any) -> dict[str, Any]:
    """A job with one task `pretrain`."""
    pod = {"spec": {"containers": [{"image": "trainer:1", "command": ["python"], "args": ["-m", "x"]}]}}
    state = {"state": {"phase": phase}} if phase else {}
    return {
        "metadata": {"name": "app-1", "namespace": "ml", "uid": "u-1"},
        "spec": {"tasks": [{"name": "pretrain", "replicas": replicas, "minAvailable": replicas, "template": pod}]},
        "status": {**state, **status},
    }


def pod(index: int, phase: str = "Running", **ended: Any) -> dict[str, Any]:
    """A pod of it. `ended` is how its container did, if it has."""
    name = f"app-1-pretrain-{index}"
    labels = {"volcano.sh/job-name": "app-1", "volcano.sh/task-spec": "pretrain", "volcano.sh/task-index": str(index)}
    return {
        "metadata": {"name": name, "namespace": "ml", "labels": labels},
        "spec": {"hostname": name, "subdomain": "app-1", "nodeName": "node-7"},
        "status": {"phase": phase, "containerStatuses": [{"state": {"terminated": ended} if ended else {}}]},
    }
