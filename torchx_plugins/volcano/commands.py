"""Volcano's commands: small objects that its controller takes, does and deletes."""

from collections.abc import Mapping
from typing import Any, Literal

from torchx_plugins.volcano.job import GROUP, VERSION


def commands_path(namespace: str) -> str:
    """Where they are made."""
    return f"/apis/bus.volcano.sh/{VERSION}/namespaces/{namespace}/commands"


def command(job: Mapping[str, Any], action: Literal["AbortJob", "SyncJob"]) -> dict[str, Any]:
    """What asks Volcano to end a job and keep it, as `vcctl job suspend`, or to look at it again."""
    meta = job["metadata"]
    target = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Job",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    named = {"generateName": f"{meta['name']}-{action.removesuffix('Job').lower()}-", "namespace": meta["namespace"]}
    return {
        "apiVersion": f"bus.volcano.sh/{VERSION}",
        "kind": "Command",
        "metadata": {**named, "ownerReferences": [target]},
        "target": target,
        "action": action,
    }
