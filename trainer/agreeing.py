"""Ranks that must decide the same: the first one looks, all of them hear the answer, or the error."""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from config import ReverieError
from trainer.distributed import Gather

T = TypeVar("T")


def agreed(gather: Gather, look: Callable[[], T]) -> T:
    """What `look` returns on rank 0, on every rank. A ReverieError it raises is raised on every rank.

    So all of them end with the same exit code, instead of one with a message and the others stuck in a collective.
    """
    if gather.world == 1:
        return look()
    box: list[T | ReverieError | None] = [_outcome(look) if gather.rank == 0 else None]
    dist.broadcast_object_list(box, src=0)
    answer = box[0]
    if isinstance(answer, ReverieError):
        raise answer
    return answer  # type: ignore[return-value]  # None only if `look` returned it


def any_rank(gather: Gather, device: torch.device, *flags: bool) -> list[bool]:
    """For each flag, whether it is set on any rank."""
    if gather.world == 1:
        return list(flags)
    found: list[int] = gather.all_reduce_max(torch.tensor(flags, dtype=torch.int32, device=device)).tolist()
    return [bool(value) for value in found]


def _outcome(look: Callable[[], T]) -> T | ReverieError:
    try:
        return look()
    except ReverieError as error:
        return error
