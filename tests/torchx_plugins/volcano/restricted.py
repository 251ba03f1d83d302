"""The rules of Pod Security `restricted`, as Kubernetes 1.35 documents them, for a pod spec as a plain object.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ and, beyond them, what we promise: a read-only root
file system, no token of the cluster, bounded memory-backed volumes.
"""

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(spec: dict[str, Any]) -> list[str]:
    """What a namespace that enforces `restricted` would refuse, and what breaks our own promise; empty if nothing."""
    containers = [*spec.get("containers", []), *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]
    return [*_baseline(spec), *_volumes(spec), *(found for one in containers for found in _container(one, spec))]


def _baseline(spec: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    pod = spec.get("securityContext", {})
    if pod.get("sysctls") or pod.get("seLinuxOptions") or pod.get("windowsOptions"):
        yield "sysctls, seLinuxOptions or windowsOptions"
    if spec.get("automountServiceAccountToken") is not False:
        yield "the cluster's token is mounted"


def _volumes(spec: dict[str, Any]) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume}"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no bound"


def _container(one: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    pod, own = spec.get("securityContext", {}), one.get("securityContext", {})
    both = {**pod, **own}
    if own.get("privileged") or own.get("procMount", "Default") != "Default":
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in own.get("capabilities", {}).get("drop", []):
        yield "capabilities are kept"
    if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccomp is unconfined"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "the root file system is writable"
    if any("hostPort" in port for port in one.get("ports", [])):
        yield "hostPort"
