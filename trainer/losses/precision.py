"""Losses are computed in fp32 whatever the model runs in; float64 stays float64, so that gradients can be checked."""

import torch
from torch import Tensor


def at_least_fp32(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or unchanged if it is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which operations on the tensor's device keep their inputs' precision."""
    return torch.autocast(tensor.device.type, enabled=False)
