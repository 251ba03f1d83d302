"""What `torchx run -s kubernetes -cfg ...` takes, and [kubernetes] in .torchxconfig.

`torchx runopts kubernetes` lists it.
"""

from dataclasses import dataclass

from torchx.schedulers.api import StructuredOpts


@dataclass
class Options(StructuredOpts):
    """Of one launch."""

    queue: str = "default"
    """Volcano queue whose share the job uses."""

    namespace: str = "default"
    """Namespace of the job, its secrets and its service account."""

    pool: str = "cpu"
    """Node pool of roles that name none (--pool): one of helm/reverie/files/pools.yaml."""

    service_account: str | None = None
    """Service account of the pods: their identity towards the cloud's storage. Its token is not mounted."""

    secrets: list[str] | None = None
    """Secrets, by name: `NAME` gives all its keys as environment variables, `NAME:/path` mounts them as files."""

    image_pull_secrets: list[str] | None = None
    """Secrets with which images are pulled."""

    priority_class: str | None = None
    """PriorityClass of the job."""

    topology: str = ""
    """Volcano's network topology, from HyperNodes: `soft` or `hard`, with the highest tier allowed, as in `hard:2`.
    Empty: the pods of a gang are put together by the pool's topology label, where they can be."""

    retries: int = 10
    """How often a gang, or each worker, may fail and start again. Evictions are not counted. 0: never."""

    ttl_seconds: int = 86400
    """How long a finished job can be looked at before it is removed, seconds."""

    grace_seconds: int = 300
    """Time between SIGTERM and SIGKILL, for a checkpoint, seconds. A spot node may grant less."""

    labels: dict[str, str] | None = None
    """Further labels of job and pods, as for cost reports, or azure.workload.identity/use:true."""

    validate_spec: bool = False
    """Whether the cluster looks at the job before it is submitted, also with --dryrun, which then needs a cluster."""

    @property
    def secret_variables(self) -> list[str]:
        """Secrets that come as environment variables."""
        return [name for name in self.secrets or [] if ":" not in name]

    @property
    def secret_files(self) -> dict[str, str]:
        """Secrets that come as files, with their folder."""
        return dict(name.split(":", 1) for name in self.secrets or [] if ":" in name)
