"""Hot spares: nodes that a gang holds beside its own, so that it need not wait for one when it loses one.

    all of the gang run ──▶ the task `spare` has `spec.pretrain.spares` pods, each as large as one of the gang's
    one waits for a node ─▶ it has none: their nodes are free, and the scheduler takes one at its next look

They belong to the gang's own job: they come and go with it, avoid the nodes that it avoids, and are near it where it
wants to be near itself. The scheduler need not know of them: no priority class, and no preemption, which Volcano's
default configuration leaves out. They do nothing, hold no secret, and end at once.
"""

import copy
from typing import Any, Final

from torchx_plugins.volcano.job import PREEMPTABLE

SPARE: Final = "spare"
"""The task, and what its pods are told apart by."""
_ENDS_THE_JOB: Final = {"event": "TaskCompleted", "action": "CompleteJob"}
"""Of the gang's task: Volcano takes a job for completed when all of its pods are, and spares never are."""
_KEPT: Final = ("name", "image", "imagePullPolicy", "resources", "securityContext")


def with_spares(job: dict[str, Any]) -> dict[str, Any]:
    """The job of a gang with a second task, which has no pods yet: the gang comes first."""
    made = copy.deepcopy(job)
    (gang,) = made["spec"]["tasks"]
    spare = copy.deepcopy(gang)
    gang["policies"].append(_ENDS_THE_JOB)
    spare |= {"name": SPARE, "replicas": 0, "minAvailable": 0, "template": _idle(spare["template"])}
    del spare["policies"]
    made["spec"]["tasks"].append(spare)
    return made


def _idle(template: dict[str, Any]) -> dict[str, Any]:
    """A pod that takes the same room, on the same nodes, and has the same image at hand; but does nothing."""
    labels, annotations, spec = template["metadata"]["labels"], template["metadata"]["annotations"], template["spec"]
    (container,) = spec["containers"]
    idle = {"command": ["sleep", "infinity"]} | {key: container[key] for key in _KEPT if key in container}
    kept = {key: value for key, value in spec.items() if key not in ("volumes", "initContainers")}
    return {
        "metadata": {
            "labels": {**labels, "app.kubernetes.io/component": SPARE, "torchx.pytorch.org/role-name": SPARE},
            "annotations": {**annotations, PREEMPTABLE: "true"},
        },
        "spec": {**kept, "terminationGracePeriodSeconds": 1, "containers": [{**idle, "name": SPARE}]},
    }
