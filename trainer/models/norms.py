"""BatchNorm over the batch of all ranks; torch's SyncBatchNorm is that on GPUs only.

Each channel minus its mean over its deviation (epsilon 1e-5), by the samples of all ranks, of which each must have as
many as the others. Sums over ranks pass gradients on, so loss and gradients are those of the batch on one process.

Shapes: N rows, E channels; B images, C channels, H and W places of a map.
"""

from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32

EPSILON: Final = 1e-5
MOMENTUM: Final = 0.1
"""Share of a step's statistics in the running ones. Both are torch's, and CLIP's."""


class BatchNorm(nn.Module):
    """Of rows, in training and in evaluation: a head is never used on single images, so there is nothing to keep a
    running mean for."""

    def __init__(self, channels: int, affine: bool, gather: Gather) -> None:
        super().__init__()
        self.gather = gather
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, row_NE: Tensor) -> Tensor:
        """[N, E] in, [N, E] out, in at least float32."""
        batch = _statistics(at_least_fp32(row_NE), [0], self.gather)
        normed_NE = batch.centred * torch.rsqrt(batch.variance + EPSILON)
        if self.weight is None or self.bias is None:
            return normed_NE
        return normed_NE * self.weight + self.bias


class MapBatchNorm(nn.Module):
    """Of the channels of maps: by the batch in training, by running statistics in evaluation.

    torch's moves these within forward. Here forward changes nothing: `settle` moves them to what the last forward saw,
    once for each step that changed weights, so a step that is dropped leaves them as they were. Names are torch's.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, gather: Gather) -> None:
        super().__init__()
        self.gather = gather
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self._seen: tuple[Tensor, Tensor] | None = None

    def forward(self, map_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] in and out, in the precision that came in; computed in at least float32."""
        if not self.training:
            return F.batch_norm(map_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=EPSILON)
        batch = _statistics(at_least_fp32(map_BCHW), [0, 2, 3], self.gather)
        unbiased_1C11 = batch.variance.detach() * (batch.values / max(1, batch.values - 1))
        self._seen = batch.mean.detach().flatten(), unbiased_1C11.flatten()
        # One factor for each channel, so that of the maps only the centred one is kept for the backward pass.
        scale_1C11 = torch.rsqrt(batch.variance + EPSILON) * self.weight[:, None, None]
        return (batch.centred * scale_1C11 + self.bias[:, None, None]).to(map_BCHW.dtype)

    @torch.no_grad()
    def settle(self) -> None:
        """The running statistics move. Nothing does where no forward came since."""
        if self._seen is not None:
            for running_C, seen_C in zip((self.running_mean, self.running_var), self._seen, strict=True):
                running_C.lerp_(seen_C.to(running_C.dtype), MOMENTUM)
        self._seen = None


def settle(network: nn.Module) -> None:
    """Move the running statistics of all norms of a network that have some."""
    for module in network.modules():
        if isinstance(module, MapBatchNorm):
            module.settle()


class _Statistics(NamedTuple):
    """Of the samples of all ranks; single dimensions stand where these were."""

    centred: Tensor
    """This rank's, minus the mean."""
    mean: Tensor
    variance: Tensor
    """Over the count, not one less."""
    values: int
    """How many each channel has."""


def _statistics(value: Tensor, samples: list[int], gather: Gather) -> _Statistics:
    """`samples`: the dimensions that the samples are in; the others are channels."""
    values = gather.world * value.numel() // value.shape[1]
    mean: Tensor = _SumOfRanks.apply(value.sum(samples, keepdim=True), gather) / values
    centred = value - mean
    variance: Tensor = _SumOfRanks.apply(centred.square().sum(samples, keepdim=True), gather) / values
    return _Statistics(centred, mean, variance, values)


class _SumOfRanks(torch.autograd.Function):
    """The sum over ranks, with its gradient: what each rank feeds in reaches the losses of all of them."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gather: Gather) -> Tensor:
        ctx.gather = gather
        return gather.all_reduce_sum(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.gather.all_reduce_sum(grad), None
