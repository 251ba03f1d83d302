"""Contrastive losses: what the objectives ask of the one core (losses/tiles.py), each with its equation.

    multi_positive   anchors against a teacher's keys (SynCLR, Sec. 3.2; MoCo v3 is the case of one positive)
    among            images against one another (SimCLR, StableRep, SupCon)
    symmetric        images against texts and texts against images (CLIP; several images to a text as in StableRep++)
    sigmoid          every pair of image and text for itself (SigLIP)

With P(a) the keys that have the label of anchor a, without its own, and temperature t:

    loss_a = - 1/|P(a)| * sum_{k in P(a)} log( exp(q_a.k_k / t) / sum_{j not own(a)} exp(q_a.k_j / t) )
           = logsumexp_{j not own(a)} (q_a.k_j / t)  -  mean_{k in P(a)} (q_a.k_k / t)

All features are L2-normalised. Memory grows with anchors plus keys, never with their product; what that costs and
how gradients are meant where there are several ranks stands in `losses/tiles.py`: the mean over ranks is the global
batch's, of losses and of gradients, if every rank has the same number of anchors and takes their mean.

Shapes: A anchors of this rank, K keys of all ranks, D embedding, I images and T texts of this rank.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32, without_autocast
from trainer.losses.route import ALONE, Route
from trainer.losses.tiles import Labels, Plan, contrast

NO_KEY = -1
"""In `own_key_A`: this anchor has no key to leave out."""


def multi_positive(
    anchor_AD: Tensor,
    key_KD: Tensor,
    anchor_label_A: Tensor,
    key_label_K: Tensor,
    own_key_A: Tensor,
    temperature: Tensor | float,
    tile: int = 0,
    route: Route = ALONE,
) -> tuple[Tensor, Tensor]:
    """The loss of every anchor against constant keys, and how many positives it has.

    Args:
        anchor_AD: the student's, with gradient.
        key_KD: the teacher's; treated as constant. Of all ranks, gathered already; with a `route`, of this rank.
        anchor_label_A, key_label_K: equal labels are positives. Compared at every call: labels change every step.
        own_key_A: the column of each anchor's own image among the keys of all ranks, which is then neither positive
            nor negative, or NO_KEY.
        temperature: t above.
        tile: the most logits held at once; 0: as suits the device.

    Returns:
        loss_A: 0 for an anchor without a positive (and no gradient), never NaN.
        positives_A: int64.
    """
    plan = Plan(Labels(anchor_label_A, key_label_K, own_key_A), route, unit=True, tile=tile)
    losses = contrast(anchor_AD, key_KD.detach(), temperature, plan)
    return losses.row, losses.positives


def among(
    feature_AD: Tensor, label_A: Tensor, temperature: Tensor | float, route: Route = ALONE, tile: int = 0
) -> tuple[Tensor, Tensor]:
    """Every image against those of all ranks but itself; gradients flow to both sides.

    One positive each, the image's other view, is SimCLR's NT-Xent; all images of a caption are StableRep's.
    Returns loss_A and positives_A as `multi_positive` does.
    """
    own_A = own_keys(len(feature_AD), len(feature_AD), route.gather, label_A.device)
    plan = Plan(Labels(label_A, label_A, own_A), route, unit=True, tile=tile)
    losses = contrast(feature_AD, feature_AD, temperature, plan)
    return losses.row, losses.positives


def symmetric(
    image_ID: Tensor,
    text_TD: Tensor,
    image_label_I: Tensor,
    text_label_T: Tensor,
    temperature: Tensor | float,
    route: Route = ALONE,
    tile: int = 0,
) -> Tensor:
    """CLIP's loss: half of the mean over images, each choosing among all texts, and half of the mean over texts, each
    choosing among all images. Where several images have a text's label, their mean is its positive."""
    losses = contrast(image_ID, text_TD, temperature, _pairs(image_label_I, text_label_T, route, tile))
    return (losses.row.mean() + losses.column.mean()) / 2


def sigmoid(
    image_ID: Tensor,
    text_TD: Tensor,
    image_label_I: Tensor,
    text_label_T: Tensor,
    temperature: Tensor | float,
    bias: Tensor | float,
    route: Route = ALONE,
    tile: int = 0,
) -> Tensor:
    """SigLIP's loss: the sum over texts of log(1 + exp(-y (cos / t + bias))), the mean over images; y is 1 for a pair
    that belongs together and -1 for one that does not."""
    labels = Labels(image_label_I, text_label_T, torch.full_like(image_label_I, NO_KEY))
    plan = Plan(labels, route, form="sigmoid", unit=True, tile=tile)
    return contrast(image_ID, text_TD, temperature, plan, bias).row.mean()


def unit(feature_AD: Tensor) -> Tensor:
    """L2-normalised rows, at least fp32."""
    with without_autocast(feature_AD):
        return F.normalize(at_least_fp32(feature_AD), dim=1)


def own_keys(keys: int, anchors: int, gather: Gather, device: torch.device) -> Tensor:
    """The columns, among the keys of all ranks, of the keys that belong to this rank's anchors.

    This rank has `keys` keys; anchor i belongs to its key i % keys (for global crops i itself; for local crops, which
    are crop-major, the crop's image).
    """
    return torch.arange(anchors, device=device) % keys + gather.rank * keys


def _pairs(image_label_I: Tensor, text_label_T: Tensor, route: Route, tile: int) -> Plan:
    labels = Labels(image_label_I, text_label_T, torch.full_like(image_label_I, NO_KEY))
    return Plan(labels, route, columns=True, unit=True, tile=tile)
