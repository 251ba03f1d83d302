"""The controller's own settings: `python -m controller --recipe default --namespace ml`."""

from pydantic import Field

from config import Section


class ControllerConfig(Section):
    """The controller of the `Reverie` resource."""

    namespace: str = ""
    """Namespace whose resources it serves. Empty: all of the cluster, which needs a ClusterRole."""
    lease_namespace: str = ""
    """Namespace of the Lease by which replicas agree who leads. Empty: that of its pod, else `namespace`, else
    `default`."""
    lease_name: str = Field("reverie-controller", min_length=1)
    """Name of that Lease. Two controllers of one cluster that serve different namespaces need two."""
    lease_seconds: int = Field(15, ge=3)
    """A leader that did not renew for so long is followed by another. It stops itself after two thirds of it. Shorter
    is quicker to take over and asks the API server more often; 15 is what Kubernetes' own controllers take."""
    workers: int = Field(4, ge=1)
    """Resources that are reconciled at once. They wait for the API server, so a few keep it busy."""
    resync_seconds: float = Field(300.0, gt=0)
    """Longest time between two looks at every resource, whatever the watches say."""
    poll_seconds: float = Field(15.0, gt=0)
    """Time between two questions to the pods of a stage for their progress; and so the most often that a progress is
    written into a status."""
    address: str = "0.0.0.0"  # noqa: S104 - probes come from the node
    """Where it listens for probes and Prometheus."""
    port: int = Field(8080, ge=0, le=65535)
    """The port of /healthz, /readyz and /metrics. 0 takes a free one."""


def default() -> ControllerConfig:
    """All namespaces."""
    return ControllerConfig()


RECIPES = {"default": default}
