"""AdamW and which parameters it decays.

Decayed: everything with two or more dimensions, except biases. Not decayed: biases, the gains and biases of norms, and
every other parameter with fewer than two dimensions.

So the position embedding, the class and mask tokens and the scale of the iBOT head's weight norm are decayed. The paper
says nothing about groups; this is what the authors' code does (it declares exceptions and never reads them), and what
DINO and iBOT do. MAE and MoCo v3 leave the position embedding and the class token out.
"""

from typing import Any

import torch
from torch import nn

from trainer.config import OptimizerConfig


def param_groups(modules: nn.Module) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: `decay` True and False. Weight decay starts at 0 in both.

    The loop sets `weight_decay` on the groups whose `decay` is True at every step (`schedules.weight_decay`).
    Frozen parameters (the teacher's) are in neither. An empty group is left out.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in modules.named_parameters():
        if parameter.requires_grad:
            (decayed if _decays(name, parameter) else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": 0.0, "decay": True},
        {"params": kept, "weight_decay": 0.0, "decay": False},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the groups. Its learning rate starts at 0 and is set by the loop at every step."""
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.epsilon)


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and not name.endswith("bias")
