"""The heads between the encoder and the losses. They are thrown away after pretraining.

The paper says only that its contrastive heads follow MoCo v3, whose norm is BatchNorm; the default of the authors' code
is LayerNorm, and sizes are that code's. All weights start from a truncated normal (0.02), biases from 0.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32
from trainer.models.norms import BatchNorm


def contrastive_head(
    inputs: int, hidden: int, outputs: int, layers: int, batch_of: Gather | None = None
) -> nn.Sequential:
    """Projector (3 layers) or predictor (2 layers): Linear, norm, GELU; last a Linear without bias and a norm without
    gain. The norm is a LayerNorm, or BatchNorm over the batch of the ranks in `batch_of`."""

    def norm(width: int, affine: bool) -> nn.Module:
        return BatchNorm(width, affine, batch_of) if batch_of else nn.LayerNorm(width, elementwise_affine=affine)

    widths = [inputs] + [hidden] * (layers - 1)
    head = nn.Sequential()
    for before, after in pairwise(widths):
        head.extend([nn.Linear(before, after), norm(after, True), nn.GELU()])
    head.extend([nn.Linear(widths[-1], outputs, bias=False), norm(outputs, False)])
    return head.apply(_initialise)


def siamese_heads(
    inputs: int, hidden: int, bottleneck: int, batch_of: Gather | None = None
) -> tuple[nn.Sequential, nn.Sequential]:
    """SimSiam's projector and predictor (Chen and He 2021, Sec. 3), with torch's own initial weights: a projector of
    three layers, a norm after each and ReLU between them; a predictor of two, through a bottleneck, whose last has
    neither. The norm as in `contrastive_head`."""

    def norm(width: int) -> nn.Module:
        return BatchNorm(width, True, batch_of) if batch_of else nn.LayerNorm(width)

    projector = nn.Sequential()
    for before in (inputs, hidden):
        projector.extend([nn.Linear(before, hidden), norm(hidden), nn.ReLU()])
    projector.extend([nn.Linear(hidden, hidden), norm(hidden)])
    predictor = nn.Sequential(nn.Linear(hidden, bottleneck), norm(bottleneck), nn.ReLU(), nn.Linear(bottleneck, hidden))
    return projector, predictor


class PrototypeHead(nn.Module):
    """iBOT's head: an MLP to a bottleneck on the unit sphere, then cosine similarity to every prototype, times a scale.

    The last layer is weight-normed. Its scale, one number per prototype, starts at 1 and is trained, as in the authors'
    code (the paper is silent; DINO freezes it for some models). That is why Sinkhorn works on logarithms here.
    """

    def __init__(self, inputs: int, hidden: int, bottleneck: int, prototypes: int, layers: int) -> None:
        super().__init__()
        widths = [inputs] + [hidden] * (layers - 1)
        self.mlp = nn.Sequential()
        for before, after in pairwise(widths):
            self.mlp.extend([nn.Linear(before, after), nn.GELU()])
        self.mlp.append(nn.Linear(widths[-1], bottleneck))
        self.mlp.apply(_initialise)
        self.prototypes = weight_norm(nn.Linear(bottleneck, prototypes, bias=False))
        nn.init.ones_(self.prototypes.parametrizations.weight.original0)

    def forward(self, token_MD: Tensor) -> Tensor:
        """Scores [M, K] of tokens [M, D]."""
        bottleneck_MD = F.normalize(at_least_fp32(self.mlp(token_MD)), dim=-1)
        score_MK: Tensor = self.prototypes(bottleneck_MD)
        return score_MK


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
