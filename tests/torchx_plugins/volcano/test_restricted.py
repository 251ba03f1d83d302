"""The checker itself: it accepts a hardened pod and names what is missing."""

import copy
from typing import Any

import pytest

from tests.torchx_plugins.volcano.restricted import violations

HARD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    "containers": [
        {
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
        }
    ],
}


def test_a_hardened_pod_passes() -> None:
    assert violations(HARD) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("automountServiceAccountToken",), True, "the cluster's token is mounted"),
        (("securityContext", "runAsNonRoot"), False, "may run as root"),
        (("securityContext", "runAsUser"), 0, "may run as root"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccomp is unconfined"),
        (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}, "volume {'name': 'x', 'hostPath': {'path': '/'}}"),
        (("volumes", 0), {"name": "x", "emptyDir": {}}, "volume x has no bound"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
        (("containers", 0, "securityContext", "capabilities"), {}, "capabilities are kept"),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False, "the root file system is writable"),
        (("containers", 0, "ports"), [{"hostPort": 80}], "hostPort"),
    ],
)
def test_a_softer_one_does_not(path: tuple[Any, ...], value: Any, expected: str) -> None:
    pod = copy.deepcopy(HARD)
    inner = pod
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert violations(pod) == [expected]
