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
            "name": "main",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
        }
    ],
}
OWN = ("containers", 0, "securityContext")


def test_a_hardened_pod_passes() -> None:
    assert violations(HARD) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("hostNetwork",), True, ["hostNetwork is set"]),
        (("automountServiceAccountToken",), True, ["the cluster's token is mounted"]),
        (("securityContext", "runAsNonRoot"), False, ["runAsNonRoot is false", "main: runAsNonRoot is not set"]),
        (("securityContext", "runAsUser"), 0, ["runAsUser is root"]),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, ["seccompProfile is Unconfined"]),
        (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}, ["volume x is a hostPath"]),
        (("volumes", 0), {"name": "x", "emptyDir": {}}, ["volume x has no bound"]),
        ((*OWN, "privileged"), True, ["main: it is privileged"]),
        ((*OWN, "allowPrivilegeEscalation"), True, ["main: allowPrivilegeEscalation is not false"]),
        ((*OWN, "capabilities"), {}, ["main: capabilities are not dropped"]),
        ((*OWN, "readOnlyRootFilesystem"), False, ["main: the root file system is writable"]),
        (("containers", 0, "ports"), [{"hostPort": 80}], ["main: it takes a port of the node"]),
    ],
)
def test_a_softer_one_does_not(path: tuple[Any, ...], value: Any, expected: list[str]) -> None:
    pod = copy.deepcopy(HARD)
    inner = pod
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert violations(pod) == expected
