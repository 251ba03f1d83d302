"""How an anchor meets the keys of all ranks: gathered at once, or passed round in a ring.

A route takes what each rank holds of its own keys (`read`), shows a visitor the blocks of all ranks one after another,
and adds up, for every block, what the visitors of all ranks put into two kinds of accumulators: `sums`, which add, and
`logs`, which add as logarithms do (log(exp a + exp b)). Each rank gets back those of its own block, complete.

    Gathered   one message for all keys; every rank holds the keys of all. The fewest messages.
    Ring       each rank hands its block to the next one, as often as there are ranks; nobody holds more than a block.

Both visit the same blocks and differ by rounding only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.distributed import Gather, Single

Tensors = Sequence[Tensor]
Visit = Callable[[int, Tensors, Tensors, Tensors], None]
"""Gets a block's number (the rank it belongs to) and its `read`, `sums` and `logs`, of which it may change the last two
in place."""


class Route(Protocol):
    """A way to every rank's keys. All ranks take it together, with tensors of the same shapes."""

    @property
    def gather(self) -> Gather:
        """The ranks."""
        ...

    def tour(self, read: Tensors, sums: Tensors, logs: Tensors, visit: Visit) -> tuple[Tensors, Tensors]:
        """Visit the block of every rank once; the finished accumulators of this rank's block. No gradient flows.

        `sums` must begin with 0, and `logs` with -inf or the lowest number of their type. Both are used up.
        """
        ...


@dataclass(frozen=True)
class Gathered:
    """All blocks in one message, and one more for what was accumulated."""

    gather: Gather

    def tour(self, read: Tensors, sums: Tensors, logs: Tensors, visit: Visit) -> tuple[Tensors, Tensors]:
        world = self.gather.world
        read_W = list(zip(*(self.gather.all_gather(each).chunk(world) for each in read), strict=True))
        sums_W = [sums, *([each.clone() for each in sums] for _ in range(world - 1))]
        logs_W = [logs, *([each.clone() for each in logs] for _ in range(world - 1))]
        for rank in range(world):
            visit(rank, read_W[rank], sums_W[rank], logs_W[rank])
        if world == 1:
            return sums_W[0], logs_W[0]
        return [self._sum(each) for each in zip(*sums_W, strict=True)], [
            self._log_sum(each) for each in zip(*logs_W, strict=True)
        ]

    def _sum(self, block_W: Tensors) -> Tensor:
        return self.gather.all_reduce_sum(torch.stack(list(block_W)))[self.gather.rank]

    def _log_sum(self, block_W: Tensors) -> Tensor:
        own_W = torch.stack(list(block_W)).clamp(min=torch.finfo(block_W[0].dtype).min)  # -inf - -inf is not a number
        largest_W = self.gather.all_reduce_max(own_W)
        total_W = largest_W + self.gather.all_reduce_sum((own_W - largest_W).exp()).log()
        return total_W[self.gather.rank]


@dataclass(frozen=True)
class Ring:
    """Block by block, from each rank to the next. The accumulators travel with their block and come home with it."""

    gather: Gather

    def tour(self, read: Tensors, sums: Tensors, logs: Tensors, visit: Visit) -> tuple[Tensors, Tensors]:
        world = self.gather.world
        held = list(read)
        for hop in range(world):
            visit((self.gather.rank - hop) % world, held, sums, logs)
            if world > 1:
                held = [self.gather.shift(each) for each in held] if hop < world - 1 else held
                sums, logs = [self.gather.shift(each) for each in sums], [self.gather.shift(each) for each in logs]
        return sums, logs


ALONE = Gathered(Single())
"""The keys that are there are all there are."""

ROUTES: Mapping[str, Callable[[Gather], Route]] = {"gather": Gathered, "ring": Ring}
"""By the name that configs use."""
