"""The other ranks, as the losses see them: a value that is passed in, so that a loss is a function of tensors.

`Single()` is one process and needs no process group; `Process()` speaks to the ranks of an initialised one (gloo or
nccl). No gradient flows through any of these: what a loss does about that is written in the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Gather(Protocol):
    """What a loss may ask of the other ranks. Every rank asks the same, in the same order."""

    @property
    def world(self) -> int:
        """Number of ranks."""
        ...

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        ...

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The ranks' tensors, joined along the first dimension in the order of the ranks. All have the same shape."""
        ...

    def shift(self, tensor: Tensor) -> Tensor:
        """What the rank before holds, while the rank after gets this one; the last rank's goes to the first."""
        ...

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The elementwise sum over the ranks, as a new tensor."""
        ...

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        """The elementwise maximum over the ranks, as a new tensor."""
        ...


@dataclass(frozen=True)
class Single:
    """One process: nothing is sent."""

    world: int = 1
    rank: int = 0

    def all_gather(self, tensor: Tensor) -> Tensor:
        return tensor.detach()

    def shift(self, tensor: Tensor) -> Tensor:
        return tensor.detach()

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor.detach().clone()

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        return tensor.detach().clone()


class Process:
    """The ranks of a process group (the default one unless another is given), which must be initialised."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        assert dist.is_initialized(), "Process() needs init_process_group first; one process alone uses Single()"
        self.world = dist.get_world_size(group)
        self.rank = dist.get_rank(group)
        self._group = group

    def all_gather(self, tensor: Tensor) -> Tensor:
        own = tensor.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(parts, own, group=self._group)
        return torch.cat(parts)

    def shift(self, tensor: Tensor) -> Tensor:
        own = tensor.detach().contiguous()
        received = torch.empty_like(own)
        after, before = (self._peer(self.rank + step) for step in (1, -1))
        exchange = [
            dist.P2POp(dist.isend, own, after, group=self._group),
            dist.P2POp(dist.irecv, received, before, group=self._group),
        ]
        for work in dist.batch_isend_irecv(exchange):
            work.wait()
        return received

    def _peer(self, rank: int) -> int:
        """The number in the whole world of a rank of this group."""
        rank %= self.world
        return rank if self._group is None else dist.get_global_rank(self._group, rank)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return self._all_reduce(tensor, dist.ReduceOp.SUM)

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        return self._all_reduce(tensor, dist.ReduceOp.MAX)

    def _all_reduce(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        # all_reduce writes into its argument, which belongs to the caller.
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result, op=operation, group=self._group)
        return result


def gather() -> Gather:
    """The ranks there are: those of the default process group, or this process alone."""
    make: Callable[[], Gather] = Process if dist.is_initialized() else Single
    return make()
