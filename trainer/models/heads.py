"""The heads between the encoder and the losses. They are thrown away after pretraining.

The paper says only that its contrastive heads follow MoCo v3; sizes and norms are those of the authors' code, whose
default is LayerNorm (its BatchNorm variant is not built: it would tie the images of a batch together across ranks).
All weights start from a truncated normal (0.02), biases from 0.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from trainer.losses.precision import at_least_fp32


def contrastive_head(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """Projector (3 layers) or predictor (2 layers): Linear, LayerNorm, GELU; last a Linear without bias and a LayerNorm
    without gain."""
    widths = [inputs] + [hidden] * (layers - 1)
    head = nn.Sequential()
    for before, after in pairwise(widths):
        head.extend([nn.Linear(before, after), nn.LayerNorm(after), nn.GELU()])
    head.extend([nn.Linear(widths[-1], outputs, bias=False), nn.LayerNorm(outputs, elementwise_affine=False)])
    return head.apply(_initialise)


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
