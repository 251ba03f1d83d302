"""Node pools: what `--pool NAME` asks a cluster for. They stand in one file, which the chart reads too.

The file is helm/reverie/files/pools.yaml; REVERIE_POOLS in the environment names another, for a cluster of your own.
"""

import os
from functools import cache
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import Field, ValidationError, model_validator
from torchx.specs import Resource

from components.errors import LaunchError
from config import Section
from config.tree import unknown
from config.yamls import load

POOL: Final = "reverie.dev/pool"  # capability of a TorchX resource that names its pool; also the label of its nodes
VARIABLE: Final = "REVERIE_POOLS"
_HERE: Final = Path(__file__).parent
_PLACES: Final = (_HERE.parent / "helm" / "reverie" / "files" / "pools.yaml", _HERE / "pools.yaml")  # checkout, wheel


class Gpu(Section):
    """The GPUs of a node."""

    resource: str = "nvidia.com/gpu"
    """Extended resource under which the device plugin announces them."""
    count: int = Field(gt=0)
    """How many a node has."""


class Toleration(Section):
    """A taint that the pods of a pool put up with, as Kubernetes writes it."""

    key: str
    """The taint's key."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists takes any value."""
    value: str = ""
    """The taint's value. Empty with Exists."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """The taint's effect. Empty: any."""


class Pool(Section):
    """Nodes of one kind. Sizes are those of a pod that takes a whole node."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")
    """What --pool says."""
    gpu: Gpu | None = None
    """GPUs of a node. Absent: none."""
    cpu: int = Field(gt=0)
    """Cores."""
    memory: int = Field(gt=0)
    """GiB, shm included."""
    shm: int = Field(1, gt=0)
    """GiB of /dev/shm. 1 is enough without data loaders."""
    scratch: int = Field(10, gt=0)
    """GiB of the node's disk for /tmp."""
    selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes. Empty: any node."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the nodes."""
    devices: dict[str, int | str] = Field(default_factory=dict)
    """Further resources of a whole node, as EFA or RDMA devices. Empty: none."""
    topology: str = ""
    """Node label that tells near from far. Empty: placement does not matter."""

    @model_validator(mode="after")
    def _shm_is_memory(self) -> "Pool":
        if self.shm >= self.memory:
            raise ValueError(f"shm ({self.shm}) is part of memory and must be less than it ({self.memory})")
        return self

    @property
    def gpus(self) -> int:
        """GPUs of a node; 0 without any."""
        return self.gpu.count if self.gpu else 0

    def resource(self, gpus: int) -> Resource:
        """A pod's part of a node, for TorchX: `gpus` of its GPUs and as much of the rest.

        Raises:
            LaunchError: a node has fewer GPUs.
        """
        if self.gpu and not 1 <= gpus <= self.gpus:
            raise LaunchError(f"--pool {self.name}: a pod wants {gpus} GPUs and a node has {self.gpus}")
        return Resource(
            cpu=self.part(self.cpu, gpus),
            gpu=gpus if self.gpu else 0,
            memMB=self.part(self.memory, gpus) * 1024,
            capabilities={POOL: self.name},
        )

    def part(self, amount: int, gpus: int) -> int:
        """What comes with `gpus` of a node's GPUs, at least 1."""
        return max(1, amount * gpus // self.gpus) if self.gpu else amount


class Pools(Section):
    """The file."""

    pools: tuple[Pool, ...] = Field(min_length=1)
    """All of them."""


def pool(name: str) -> Pool:
    """The pool of a name.

    Raises:
        LaunchError: there is none, or the file is wrong.
    """
    known = {one.name: one for one in pools()}
    if name not in known:
        raise LaunchError(f"--pool: {unknown('pool', name, known)} (in {file()})")
    return known[name]


def pools() -> tuple[Pool, ...]:
    """All pools of the file, in its order.

    Raises:
        LaunchError: the file cannot be read or is wrong, with file, field and value.
    """
    return _read(file())


def file() -> Path:
    """Where the pools stand."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else next((path for path in _PLACES if path.is_file()), _PLACES[0])


@cache
def _read(path: Path) -> tuple[Pool, ...]:
    try:
        # As JSON, so that its lists become tuples.
        found = Pools.model_validate(load(path.read_text()), strict=False).pools
    except OSError as error:
        raise LaunchError(f"node pools: cannot read {path}: {error.strerror}; {VARIABLE} names the file") from None
    except yaml.YAMLError as error:
        raise LaunchError(f"node pools: {path} is no YAML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise LaunchError(f"node pools: {path}: {where}: {first['msg']}, got {first['input']!r}") from None
    twice = [one.name for index, one in enumerate(found) if one.name in {other.name for other in found[:index]}]
    if twice:
        raise LaunchError(f"node pools: {path}: two pools have the name {twice[0]}")
    return found
