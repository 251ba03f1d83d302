"""Gradient accumulation that is exactly the large batch, for losses that compare samples with one another.

A contrastive loss of a batch is not the mean of those of its parts: an image must meet the texts of all parts. So each
part goes through the networks twice (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup", GradCache):

    1. without a graph: features f_i of every part i
    2. loss L of all features together; its slopes dL/df_i, and dL/ds of what the comparison itself has learned (the
       temperature), which is counted here, once
    3. with a graph: the features again, and backward from sum_i f_i * dL/df_i, which has the gradient of L

The second time must give the features of the first: the caller seeds the random generator for each part, so stochastic
depth drops the same blocks.

An open_clip run with accumulation takes L's gradient in every part, so the networks' is right and the temperature's is
as many times too large as there are parts; and it does not seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.objectives.protocol import Comparing, Embedded


class Slopes(NamedTuple):
    """What the loss of all parts says of each."""

    loss: Tensor
    metrics: dict[str, Tensor]
    parts: list[dict[str, Tensor]]
    """By part and name of the feature."""
    shared: list[tuple[nn.Parameter, Tensor]]
    """The comparison's own parameters, and the loss's slope by each."""


def slopes(objective: Comparing, parts: Sequence[Embedded]) -> Slopes:
    """Compare all parts at once. Their features must have no graph."""
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    learned = {name: value.requires_grad_() for name, value in joined.items() if value.is_floating_point()}
    shared = objective.shared()
    loss, metrics = objective.compare(joined)
    inputs = [*learned.values(), *shared]
    # What has no part in the loss (a teacher's features) has the slope 0, one number seen as many.
    found = [
        value.new_zeros(()).expand_as(value) if slope is None else slope
        for value, slope in zip(inputs, torch.autograd.grad(loss, inputs, allow_unused=True), strict=True)
    ]
    by_name = {
        name: slope.split([len(part[name]) for part in parts])
        for (name, slope) in zip(learned, found[: len(learned)], strict=True)
    }
    by_part = [{name: by_name[name][index] for name in by_name} for index in range(len(parts))]
    return Slopes(loss.detach(), metrics, by_part, list(zip(shared, found[len(learned) :], strict=True)))


def stand_in(embedded: Embedded, found: Slopes, part: int) -> Tensor:
    """A number whose gradient, summed over the parts, is that of the loss. Its own value means nothing.

    Every part holds its share of the comparison's own slopes, so that no parameter lacks a gradient in any.
    """
    own = [(embedded[name] * slope).sum() for name, slope in found.parts[part].items()]
    shared = [(parameter * slope).sum() / len(found.parts) for parameter, slope in found.shared]
    return torch.stack([*own, *shared]).sum()
