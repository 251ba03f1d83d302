"""What a pod needs of a node: from the node pool that its role names, or from plain TorchX numbers."""

from dataclasses import dataclass, field
from typing import Any

from torchx.specs import NULL_RESOURCE, Resource

from components.errors import LaunchError
from components.pools import POOL, Pool, Toleration
from components.pools import pool as pool_named


@dataclass(frozen=True)
class Needs:
    """Quantities as Kubernetes writes them. Requests equal limits, so that a pod is the last to be evicted."""

    resources: dict[str, str]
    shm: str
    scratch: str
    selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    topology: str = ""


def needs(role: str, resource: Resource, default_pool: str) -> Needs:
    """Of each pod of a role.

    Raises:
        LaunchError: no such pool, or the role says neither what it needs nor where from.
    """
    name = resource.capabilities.get(POOL)
    if name is None and resource == NULL_RESOURCE:
        name = default_pool
    if name is None:
        return _plain(role, resource)
    pool = pool_named(name)
    return of_pool(pool, resource.gpu if resource.capabilities.get(POOL) else pool.gpus)


def of_pool(pool: Pool, gpus: int) -> Needs:
    """A pod's part of a pool's node. Network devices are whole: they come with all GPUs or not at all."""
    resources = {
        "cpu": str(pool.part(pool.cpu, gpus)),
        "memory": f"{pool.part(pool.memory, gpus)}Gi",
        "ephemeral-storage": f"{pool.part(pool.scratch, gpus)}Gi",
    }
    if pool.gpu:
        resources[pool.gpu.resource] = str(gpus)
    if gpus == pool.gpus:
        resources |= {name: str(count) for name, count in pool.devices.items()}
    return Needs(
        resources,
        shm=f"{pool.part(pool.shm, gpus)}Gi",
        scratch=f"{pool.part(pool.scratch, gpus)}Gi",
        selector=pool.selector,
        tolerations=pool.tolerations,
        topology=pool.topology,
    )


def _plain(role: str, resource: Resource) -> Needs:
    """Numbers without a pool, as TorchX's own components give them. Memory is in MB; a quarter of it may be shm."""
    for name, value in (("cpu", resource.cpu), ("memMB", resource.memMB)):
        if value <= 0:
            raise LaunchError(f"role {role}: {name} must be greater than 0, got {value}")
    scratch = "10Gi"
    resources: dict[str, Any] = {
        "cpu": f"{round(resource.cpu * 1000)}m",
        "memory": f"{resource.memMB}M",
        "ephemeral-storage": scratch,
    }
    if resource.gpu > 0:
        resources["nvidia.com/gpu"] = str(resource.gpu)
    resources |= {name: str(count) for name, count in resource.devices.items()}
    return Needs(resources, shm=f"{max(1, resource.memMB // 4)}M", scratch=scratch)
