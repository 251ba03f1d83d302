"""The checker refuses what the Pod Security Standards refuse at level `restricted`. Needs no helm."""

from copy import deepcopy
from typing import Any

import pytest

from tests.helm.pod_security import violations

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "main", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
}


def bad(path: str, value: Any) -> dict[str, Any]:
    """The good pod with one field changed, or taken away by None."""
    pod = deepcopy(GOOD)
    *way, last = path.split(".")
    at: Any = pod
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return pod


def test_a_hardened_pod_passes() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("hostNetwork", True, "hostNetwork is set"),
        ("hostPID", True, "hostPID is set"),
        ("hostIPC", True, "hostIPC is set"),
        ("volumes", [{"name": "node", "hostPath": {"path": "/"}}], "volume node is a hostPath"),
        ("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctl kernel.msgmax is not safe"),
        ("securityContext.runAsUser", 0, "runAsUser is root"),
        ("securityContext.runAsNonRoot", None, "main: runAsNonRoot is not set"),
        ("securityContext.runAsNonRoot", False, "runAsNonRoot is false"),
        ("securityContext.seccompProfile", None, "main: seccompProfile is not set"),
        ("securityContext.seccompProfile.type", "Unconfined", "seccompProfile is Unconfined"),
        ("containers.0.securityContext", {}, "main: allowPrivilegeEscalation is not false"),
        ("containers.0.securityContext.privileged", True, "main: it is privileged"),
        ("containers.0.securityContext.capabilities.drop", ["NET_RAW"], "main: capabilities are not dropped"),
        ("containers.0.securityContext.capabilities.add", ["IPC_LOCK"], "main: capabilities ['IPC_LOCK'] are added"),
        ("containers.0.securityContext.procMount", "Unmasked", "main: procMount is not Default"),
        ("containers.0.securityContext.runAsNonRoot", False, "main: runAsNonRoot is false"),
        ("containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "main: it takes a port of the node"),
        ("containers.0.securityContext.seLinuxOptions", {"type": "spc_t"}, "main: seLinuxOptions"),
        ("containers.0.securityContext.appArmorProfile", {"type": "Unconfined"}, "main: appArmorProfile is Unconfined"),
        ("initContainers", [{"name": "init"}], "init: allowPrivilegeEscalation is not false"),
    ],
)
def test_each_rule_is_held(path: str, value: Any, said: str) -> None:
    assert any(line.startswith(said) for line in violations(bad(path, value)))


def test_a_container_may_make_up_for_its_pod() -> None:
    pod = deepcopy(GOOD)
    pod["containers"][0]["securityContext"].update(pod.pop("securityContext"))
    assert violations(pod) == []
