"""CLIP's text transformer (Radford et al. 2021, Sec. 2.4), and what a text tower learns besides.

Causal, pre-norm; the feature is the last norm's output at the end of the text, which is the token with the largest
number, through a projection without bias. Parameters have OpenAI's names. Weights start from normal distributions:
tokens 0.02, positions 0.01, projection w^-1/2, blocks as `Transformer.initialise` says.

Shapes: B texts, T numbers of a text, W width, E embedding.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import TextConfig
from trainer.models.transformer import Transformer


class TextTower(nn.Module):
    """Numbers of captions to features of the common space."""

    def __init__(self, config: TextConfig, vocabulary: int, context: int, embedding: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(context, config.width))
        self.transformer = Transformer(config.width, config.depth, config.heads, quick_gelu=config.quick_gelu)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, embedding))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=config.width**-0.5)
        self.transformer.initialise()

    def forward(self, token_BT: Tensor) -> Tensor:
        """Features [B, E]."""
        return self.at_end(self.states(token_BT), token_BT)

    def states(self, token_BT: Tensor) -> Tensor:
        """What becomes of every token, [B, T, W]. For forward of a subclass: ZeRO 3 has the parameters there."""
        length = token_BT.shape[1]
        state_BTW = self.token_embedding(token_BT) + self.positional_embedding[:length]
        hidden_TT = torch.ones(length, length, dtype=torch.bool, device=token_BT.device).triu(1)
        normed_BTW: Tensor = self.ln_final(self.transformer(state_BTW, hidden_TT))
        return normed_BTW

    def at_end(self, state_BTW: Tensor, token_BT: Tensor) -> Tensor:
        """The features [B, E] of texts whose tokens became this."""
        end_BW = state_BTW[torch.arange(len(token_BT), device=token_BT.device), token_BT.argmax(1)]
        feature_BE: Tensor = end_BW @ self.text_projection
        return feature_BE


def image_projection(width: int, embedding: int) -> nn.Linear:
    """From the image's class token to the common space, without bias, from N(0, 1/width)."""
    projection = nn.Linear(width, embedding, bias=False)
    nn.init.normal_(projection.weight, std=width**-0.5)
    return projection


class Learned(nn.Module):
    """One learned number.

    Its parameter is [1] and not [], because DeepSpeed sends parameters as bytes, and [] cannot be seen as bytes. It is
    a module, because ZeRO 3 has a parameter's value at hand where the forward of its module is called, nowhere else.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([start]))

    def forward(self) -> Tensor:
        """The number, []."""
        return self.value[0]


class Temperature(nn.Module):
    """A learned scale of logits, kept as its logarithm and never above a maximum. Gives 1 / scale.

    CLIP clamps the parameter after each step. An optimiser that keeps a copy of the parameters (ZeRO) would not notice;
    clamped on the way, forward and gradient speak of the same value: at the maximum a gradient that would raise it is
    0, and one that lowers it passes.
    """

    def __init__(self, start: float, largest: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([math.log(start)]))  # [1] as in Learned
        self.largest = largest

    def forward(self) -> Tensor:
        """Temperature, []."""
        bound = torch.tensor(self.largest, dtype=self.log_scale.dtype, device=self.log_scale.device).log()
        log_scale: Tensor = _AtMost.apply(self.log_scale[0], bound)
        return (-log_scale).exp()


class _AtMost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(value >= bound)
        return torch.minimum(value, bound)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (reached,) = ctx.saved_tensors
        return torch.where(reached, F.relu(slopes[0]), slopes[0]), None
