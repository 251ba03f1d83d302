"""Multi-positive contrastive loss (SynCLR, Sec. 3.2, after StableRep and SupCon).

    loss_a = - 1/|P(a)| * sum_{k in P(a)} log( exp(q_a.k_k / t) / sum_{j not own(a)} exp(q_a.k_j / t) )
           = logsumexp_{j not own(a)} (q_a.k_j / t)  -  mean_{k in P(a)} (q_a.k_k / t)

P(a) are the keys with the label of anchor a, without its own key. Anchors and keys are L2-normalised here.

Shapes: A anchors of this rank, K keys of all ranks, D embedding, T anchors of one tile.

Gradient convention. Keys carry no gradient (they come from a teacher), so nothing flows through the gather. Each rank
returns the losses of its own anchors against the keys of all ranks; if every rank has the same number of anchors and
takes their mean, the mean over ranks of the gradients, which data-parallel training takes, is the gradient of the mean
over the global batch. There is no factor for the number of ranks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32, without_autocast

NO_KEY = -1
"""In `own_key_A`: this anchor has no key to leave out."""


def multi_positive(
    anchor_AD: Tensor,
    key_KD: Tensor,
    anchor_label_A: Tensor,
    key_label_K: Tensor,
    own_key_A: Tensor,
    temperature: float,
    tile: int = 2**24,
) -> tuple[Tensor, Tensor]:
    """The loss of every anchor, and how many positives it has.

    Args:
        anchor_AD: the student's, with gradient.
        key_KD: the teacher's, of all ranks; treated as constant.
        anchor_label_A, key_label_K: equal labels are positives. Compared at every call: labels change every step.
        own_key_A: the column of each anchor's own image among the keys, which is then neither positive nor negative,
            or NO_KEY.
        temperature: t above.
        tile: the most logits held at once. The anchors are worked through in tiles of `tile // K`, whose logits are
            computed again in the backward pass, so memory grows with A + K and not with A * K.

    Returns:
        loss_A: 0 for an anchor without a positive (and no gradient), never NaN.
        positives_A: int64.
    """
    key_KD = F.normalize(at_least_fp32(key_KD.detach()), dim=1)
    rows = max(1, tile // max(1, key_KD.shape[0]))
    if anchor_AD.shape[0] <= rows:
        return _tile(anchor_AD, anchor_label_A, own_key_A, key_KD, key_label_K, temperature)
    tiles = zip(*(torch.split(each, rows) for each in (anchor_AD, anchor_label_A, own_key_A)), strict=True)
    parts = [
        checkpoint(_tile, *part, key_KD, key_label_K, temperature, use_reentrant=False, preserve_rng_state=False)
        for part in tiles
    ]
    return torch.cat([loss for loss, _ in parts]), torch.cat([positives for _, positives in parts])


def own_keys(keys: int, anchors: int, gather: Gather, device: torch.device) -> Tensor:
    """The columns, among the keys of all ranks, of the keys that belong to this rank's anchors.

    This rank has `keys` keys; anchor i belongs to its key i % keys (for global crops i itself; for local crops, which
    are crop-major, the crop's image).
    """
    return torch.arange(anchors, device=device) % keys + gather.rank * keys


def _tile(
    anchor_TD: Tensor, label_T: Tensor, own_key_T: Tensor, key_KD: Tensor, key_label_K: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    with without_autocast(anchor_TD):
        anchor_TD = F.normalize(at_least_fp32(anchor_TD), dim=1)
        logit_TK = anchor_TD @ key_KD.to(anchor_TD.dtype).T / temperature
        own_TK = own_key_T[:, None] == torch.arange(key_KD.shape[0], device=own_key_T.device)
        positive_TK = (label_T[:, None] == key_label_K) & ~own_TK
        positives_T = positive_TK.sum(1)
        # The lowest number and not -inf: an anchor whose only key is its own would have the gradient 0 * NaN.
        log_total_T = logit_TK.masked_fill(own_TK, torch.finfo(logit_TK.dtype).min).logsumexp(1)
        mean_positive_T = (logit_TK * positive_TK).sum(1) / positives_T.clamp(min=1)
        return torch.where(positives_T > 0, log_total_T - mean_positive_T, 0.0), positives_T
