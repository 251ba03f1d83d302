"""Classification by the subwords of a caption (SuperClass: "Classification Done Right for Vision-Language
Pre-Training", Huang et al. 2024, Eq. 1-3), and the other losses of its Table 6.

With y_v = 1 if subword v is in the caption, else 0 (how often does not matter), and scores z:

    softmax      - sum_v t_v log softmax(z)_v,   t = w y / sum(w y),   w_v = log((N + 1) / (df_v + 1))
    bce          - sum_v [ y_v log p_v + (1 - y_v) log(1 - p_v) ],   p = sigmoid(z)
    soft_margin  the same, the mean over v (torch's MultiLabelSoftMarginLoss): a different length of the gradient only
    asl          - sum_v [ y_v log p_v + (1 - y_v) m_v^4 log(1 - m_v) ],   m = max(p - 0.05, 0)     (Ridnik et al. 2021)
    two_way      softplus( log sum_{v not in y} exp z_v + 4 log sum_{v in y} exp(-z_v / 4) ), the mean over images, plus
                 the same along images, for every subword that some image has and some has not, their mean
                 (Kobayashi 2023)

N captions were seen so far, the batch included, and df_v of them have subword v. A caption whose subwords all weigh 0
(they are in every caption seen) counts as 0.

Shapes: A images of this rank, T numbers of a text, V subwords.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.distributed import Gather

TEMPERATURE = 4.0
"""Of the positives in `two_way`: its paper's."""
MARGIN, FOCUS = 0.05, 4
"""Of `asl`: its paper's; positives are not focused on (exponent 0)."""


def presence(token_AT: Tensor, size: int, without: Sequence[int]) -> Tensor:
    """Which numbers each text has, bool [A, size], but those in `without`."""
    there_AV = torch.zeros(len(token_AT), size, dtype=torch.bool, device=token_AT.device)
    there_AV.scatter_(1, token_AT, True)
    there_AV[:, list(without)] = False
    return there_AV


def rarity(frequency_V: Tensor, captions: Tensor) -> Tensor:
    """w above, float64: 0 for what every caption has. The paper writes log(N / (1 + df)), which can be negative; this
    is what its code computes."""
    return ((captions + 1).double() / (frequency_V + 1).double()).log()


def softmax(score_AV: Tensor, there_AV: Tensor, weight_V: Tensor) -> Tensor:
    """The loss of each image, [A]."""
    target_AV = there_AV * weight_V.to(score_AV.dtype)
    target_AV = target_AV / target_AV.sum(1, keepdim=True).clamp(min=torch.finfo(score_AV.dtype).tiny)
    return -(target_AV * score_AV.log_softmax(1)).sum(1)


def bce(score_AV: Tensor, there_AV: Tensor) -> Tensor:
    """The loss of each image, [A]."""
    return F.binary_cross_entropy_with_logits(score_AV, there_AV.to(score_AV.dtype), reduction="none").sum(1)


def soft_margin(score_AV: Tensor, there_AV: Tensor) -> Tensor:
    """The loss of each image, [A]."""
    return bce(score_AV, there_AV) / score_AV.shape[1]


def asl(score_AV: Tensor, there_AV: Tensor) -> Tensor:
    """The loss of each image, [A]."""
    shifted_AV = (score_AV.sigmoid() - MARGIN).clamp(min=0)
    absent_AV = shifted_AV**FOCUS * torch.log1p(-shifted_AV)
    return -torch.where(there_AV, F.logsigmoid(score_AV), absent_AV).sum(1)


def two_way(score_AV: Tensor, there_AV: Tensor, gather: Gather) -> Tensor:
    """The loss of each image, [A], its share of the subwords' half included.

    A subword's sums are over the images of all ranks. Their gradient is that of the sum over ranks of the losses, as
    everywhere here (losses/tiles.py).
    """
    positive_A, negative_A = _sums(score_AV, there_AV, dim=1)
    both_A = there_AV.any(1) & ~there_AV.all(1)
    image_A = torch.where(both_A, F.softplus(negative_A + TEMPERATURE * positive_A), 0.0)
    positive_V, negative_V = (_over_ranks(each, gather) for each in _sums(score_AV, there_AV, dim=0))
    has_V = gather.all_reduce_sum(there_AV.sum(0))
    both_V = (has_V > 0) & (has_V < gather.world * len(there_AV))
    subword_V = torch.where(both_V, F.softplus(negative_V + TEMPERATURE * positive_V), 0.0)
    return image_A + subword_V.sum() / both_V.sum().clamp(min=1)


PLAIN: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": bce, "soft_margin": soft_margin, "asl": asl}
"""The losses that take nothing but scores and subwords."""


def _sums(score_AV: Tensor, there_AV: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Of positives log sum exp(-z / 4), of negatives log sum exp z; the lowest number where there are none."""
    lowest = torch.finfo(score_AV.dtype).min / (2 * TEMPERATURE)  # so that the sum of both does not overflow
    positive = (-score_AV / TEMPERATURE).masked_fill(~there_AV, lowest).logsumexp(dim)
    return positive, score_AV.masked_fill(there_AV, lowest).logsumexp(dim)


def _over_ranks(own_V: Tensor, gather: Gather) -> Tensor:
    """log sum exp over the ranks, with the gradient of the sum over ranks of what they do with it."""
    largest_V = gather.all_reduce_max(own_V)
    total_V = largest_V + gather.all_reduce_sum((own_V - largest_V).exp()).log()
    share_V = gather.world * (own_V.detach() - total_V).exp()
    return total_V + share_V * (own_V - own_V.detach())
