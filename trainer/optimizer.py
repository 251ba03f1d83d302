"""AdamW and which parameters it decays.

Biases, the gains of norms and all else with fewer than two dimensions never decay. Papers leave out more of the rest,
or less: an objective's section names the rule (`decay`), and this is what each rule leaves out besides.

| rule | left out besides | objectives | source |
|---|---|---|---|
| `all` | nothing | SynCLR, StableRep | their code: what has fewer than two dimensions, or bias, ln or bn in its name |
| | | SimCLR | SLIP's code for ViTs, the same rule (the paper's ResNet has nothing else to leave out) |
| | | DeCLIP | its configs: norms, biases and the scale of the logits |
| `not_class` | class token | SuperClass | older open_clip: fewer than two dimensions; the class token has one there |
| `not_places` | class token, position embeddings | CLIP | open_clip today: `no_weight_decay()` of both towers |
| | | supervised | timm's ViT, as DeiT trains it |
| `kernels` | class token, all embeddings (positions, words) | SigLIP | big_vision: what is named kernel decays |

So under `all` the position embedding, the class and mask tokens and the scale of the iBOT head's weight norm decay.
SynCLR's paper says nothing about groups; this is what its code does (it declares exceptions and never reads them), and
what DINO and iBOT do.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from trainer.config import DecayRule, OptimizerConfig

_CLASS: Final = frozenset({"cls_token", "class_embedding"})
_PLACES: Final = frozenset({"pos_embed", "positional_embedding"})
LEFT_OUT: Mapping[DecayRule, frozenset[str]] = {
    "all": frozenset(),
    "not_class": _CLASS,
    "not_places": _CLASS | _PLACES,
    "kernels": _CLASS | _PLACES | {"token_embedding"},
}
"""Names that a rule leaves out, timm's and OpenAI's: of the parameter, or of the module that it is the weight of."""


def param_groups(modules: nn.Module, rule: DecayRule = "all") -> list[dict[str, Any]]:
    """The trainable parameters in two groups: `decay` True and False. Weight decay starts at 0 in both.

    The loop sets `weight_decay` on the groups whose `decay` is True at every step (`schedules.weight_decay`).
    Frozen parameters (the teacher's) are in neither. An empty group is left out.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in modules.named_parameters():
        if parameter.requires_grad:
            (decayed if _decays(name, parameter, rule) else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": 0.0, "decay": True},
        {"params": kept, "weight_decay": 0.0, "decay": False},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the groups. Its learning rate starts at 0 and is set by the loop at every step."""
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.epsilon)


def _decays(name: str, parameter: nn.Parameter, rule: DecayRule) -> bool:
    last = name.removesuffix(".weight").rpartition(".")[2]
    return parameter.ndim >= 2 and not name.endswith("bias") and last not in LEFT_OUT[rule]
