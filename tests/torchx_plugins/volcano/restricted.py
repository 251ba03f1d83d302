"""What we promise of every pod, for a pod spec as a plain object: Pod Security `restricted`, and beyond it a read-only
root file system, no token of the cluster, and volumes on a node's disk or memory that are bounded."""

from collections.abc import Iterator
from typing import Any

from tests.helm import pod_security


def violations(spec: dict[str, Any]) -> list[str]:
    """What a namespace that enforces `restricted` would refuse, and what breaks our own promise; empty if nothing."""
    return [*pod_security.violations(spec), *_beyond(spec)]


def _beyond(spec: dict[str, Any]) -> Iterator[str]:
    if spec.get("automountServiceAccountToken") is not False:
        yield "the cluster's token is mounted"
    for volume in spec.get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no bound"
    for one in pod_security.containers(spec):
        if one.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{one['name']}: the root file system is writable"
