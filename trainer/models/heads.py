"""The heads between the encoder and the losses. They are thrown away after pretraining.

The paper says only that its contrastive heads follow MoCo v3, whose norm is BatchNorm; the default of the authors' code
is LayerNorm, and sizes are that code's. All weights start from a truncated normal (0.02), biases from 0.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32


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


class BatchNorm(nn.Module):
    """Each channel minus its mean over its deviation, over the rows of all ranks, in training and in evaluation: a head
    is never used on single images, so there is nothing to keep a running mean for.

    torch's SyncBatchNorm does the same on GPUs only. Every rank must have the same number of rows.
    """

    def __init__(self, channels: int, affine: bool, gather: Gather) -> None:
        super().__init__()
        self.gather = gather
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, row_NE: Tensor) -> Tensor:
        """[N, E] in, [N, E] out, in at least float32."""
        row_NE = at_least_fp32(row_NE)
        rows = row_NE.shape[0] * self.gather.world
        mean_E: Tensor = _SumOfRanks.apply(row_NE.sum(0), self.gather) / rows
        centred_NE = row_NE - mean_E
        variance_E: Tensor = _SumOfRanks.apply(centred_NE.square().sum(0), self.gather) / rows
        normed_NE = centred_NE * torch.rsqrt(variance_E + 1e-5)
        if self.weight is None or self.bias is None:
            return normed_NE
        return normed_NE * self.weight + self.bias


class _SumOfRanks(torch.autograd.Function):
    """The sum over ranks, with its gradient: what each rank feeds in reaches the losses of all of them."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gather: Gather) -> Tensor:
        ctx.gather = gather
        return gather.all_reduce_sum(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.gather.all_reduce_sum(grad), None


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
