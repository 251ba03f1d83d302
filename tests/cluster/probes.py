"""Readiness of a container, asked as a kubelet does."""

import socket
import urllib.request
from contextlib import suppress

from tests.cluster.api import Json


def passes(container: Json, kind: str, ip: str) -> bool:
    """Whether the container's `readinessProbe` (or another kind) succeeds now; no probe always does."""
    probe = container.get(kind)
    if not probe:
        return True
    with suppress(OSError):
        if asked := probe.get("httpGet"):
            url = f"http://{ip}:{_port(container, asked['port'])}{asked.get('path', '/')}"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status < 400)
        if asked := probe.get("tcpSocket"):
            socket.create_connection((ip, _port(container, asked["port"])), timeout=2).close()
            return True
    return False


def _port(container: Json, port: int | str) -> int:
    """The number of a port that may be a name."""
    named = {one.get("name"): one["containerPort"] for one in container.get("ports", [])}
    return int(named.get(port, port))
