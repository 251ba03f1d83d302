"""iBOT: the student predicts, at masked tokens, the teacher's assignment of the same token to prototypes (SynCLR,
Sec. 3.3, after iBOT and DINOv2).

    loss = 1/C * sum_{crops c with a mask} 1/M_c * sum_{m masked in c} - sum_k t_mk log softmax(s_m / t_student)_k

C counts the masked crops (the reference's normaliser; DINOv2 divides by all crops, which with half of them masked
gives half the value) over all ranks, and the targets t are the teacher's scores after Sinkhorn-Knopp over the masked
tokens of all ranks.

Shapes: M masked tokens of this rank, K prototypes, C crops of this rank, N tokens of a crop.

Gradient convention: each rank returns its part of the sum times (ranks / C), so the mean over ranks, of loss or
gradients, is that of the global batch, also where ranks have different numbers of masked crops.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32, without_autocast


@torch.no_grad()
def sinkhorn(score_MK: Tensor, temperature: Tensor | float, iterations: int, gather: Gather) -> Tensor:
    """Targets that are fair to the prototypes: Q = exp(score / temperature), with the tokens of all ranks as rows, is
    scaled in turn to equal sums per prototype and to the sum 1 per token; per token last.

    In fp32, on logarithms with a maximum taken out of every sum, because the weight norm's scale is trained: with
    exponentials, a scale of 3.5 at temperature 0.04 overflows, and twice that underflows a whole token once a global
    maximum is subtracted. The total of Q and the two target sums cancel, so they do not appear.

    Returns target_MK with rows that sum to 1; the arguments are left as they are.
    """
    log_MK = at_least_fp32(score_MK) / temperature
    token_M1 = log_MK.new_zeros(log_MK.shape[0], 1)
    prototype_K = log_MK.new_zeros(log_MK.shape[1])
    for _ in range(iterations):
        prototype_K = -_log_sum_over_ranks(log_MK + token_M1, gather)
        token_M1 = -(log_MK + prototype_K).logsumexp(1, keepdim=True)
    return (log_MK + prototype_K + token_M1).exp()


class Masked(NamedTuple):
    """The masked tokens of this rank's crops."""

    tokens: Tensor
    """[M] Where they are in the crops' tokens laid end to end (C * N), in ascending order."""
    weights: Tensor
    """[M] 1 / masked tokens of the token's crop, so that every masked crop counts the same."""
    crops: Tensor
    """[C] Which crops have a masked token."""


def masked_tokens(mask_CN: Tensor) -> Masked:
    """Find the True entries of a boolean mask. Their number is read from the device: call it before other work."""
    token_M = mask_CN.flatten().nonzero()[:, 0]
    masked_C = mask_CN.sum(1)
    weight_M = 1.0 / masked_C[token_M // mask_CN.shape[1]]
    return Masked(token_M, weight_M, masked_C > 0)


def masked_token_loss(
    student_MK: Tensor, target_MK: Tensor, weight_M: Tensor, masked_C: Tensor, temperature: float, gather: Gather
) -> Tensor:
    """The loss above for this rank, from the student's scores and the targets of its masked tokens (`Masked`).

    Without a masked crop on any rank it is 0; on a rank without one it is 0, with zero gradients.
    """
    with without_autocast(student_MK):
        log_student_MK = (at_least_fp32(student_MK) / temperature).log_softmax(1)
        loss_M = -(target_MK * log_student_MK).sum(1)
        crops = gather.all_reduce_sum(masked_C.sum()).clamp(min=1)
        return (weight_M * loss_M).sum() * gather.world / crops


def _log_sum_over_ranks(log_MK: Tensor, gather: Gather) -> Tensor:
    """log sum exp over the tokens of all ranks, per prototype. A rank may have no token."""
    own_K = log_MK.logsumexp(0)
    largest_K = gather.all_reduce_max(own_K)
    return largest_K + gather.all_reduce_sum((own_K - largest_K).exp()).log()
