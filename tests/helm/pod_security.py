"""The rules of Pod Security's level `restricted`, as the Pod Security Standards of Kubernetes 1.35 list them.

Written down here so that a chart can be checked without a cluster; user namespaces, Windows and annotations of old
releases, which change some rules, do not occur.
"""

from collections.abc import Iterator
from typing import Any, Final

Spec = dict[str, Any]

VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SECCOMP: Final = {"RuntimeDefault", "Localhost"}
SYSCTLS: Final = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SELINUX: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def violations(pod: Spec) -> list[str]:
    """What a pod's spec breaks, empty if nothing."""
    return [*_of_pod(pod), *(f"{c['name']}: {what}" for c in containers(pod) for what in _of_container(pod, c))]


def containers(pod: Spec) -> list[Spec]:
    """Of all kinds."""
    return [*pod.get("initContainers", ()), *pod["containers"], *pod.get("ephemeralContainers", ())]


def _of_pod(pod: Spec) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is set"
    for volume in pod.get("volumes", ()):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    for sysctl in pod.get("securityContext", {}).get("sysctls", ()):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is not safe"
    yield from _of_context(pod.get("securityContext", {}))


def _of_context(context: Spec) -> Iterator[str]:
    """What neither a pod nor a container may say, even where the other one makes up for it."""
    if context.get("runAsUser") == 0:
        yield "runAsUser is root"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    if (seccomp := context.get("seccompProfile", {}).get("type")) not in {None, *SECCOMP}:
        yield f"seccompProfile is {seccomp}"
    if context.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield "appArmorProfile is Unconfined"
    options = context.get("seLinuxOptions", {})
    if options.get("type", "") not in SELINUX or options.get("user") or options.get("role"):
        yield "seLinuxOptions go beyond a type of containers"


def _of_container(pod: Spec, container: Spec) -> Iterator[str]:
    context = container.get("securityContext", {})
    outer = pod.get("securityContext", {})
    yield from _of_context(context)
    if not context.get("runAsNonRoot", outer.get("runAsNonRoot")):
        yield "runAsNonRoot is not set"
    if not (context.get("seccompProfile") or outer.get("seccompProfile")):
        yield "seccompProfile is not set"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("privileged"):
        yield "it is privileged"
    if "ALL" not in context.get("capabilities", {}).get("drop", ()):
        yield "capabilities are not dropped"
    if extra := set(context.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"}:
        yield f"capabilities {sorted(extra)} are added"
    if context.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "it takes a port of the node"
