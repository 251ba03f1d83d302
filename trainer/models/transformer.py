"""CLIP's transformer blocks, which its text tower and its vision transformer share (openai/CLIP, clip/model.py).

Pre-norm with biases; LayerNorm's epsilon is 1e-5. Parameters have OpenAI's names.

Shapes: B sequences, T tokens, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x)."""

    def forward(self, value: Tensor) -> Tensor:
        return value * torch.sigmoid(1.702 * value)


class Block(nn.Module):
    """Attention, and an MLP, each added to what came in."""

    def __init__(self, width: int, heads: int, *, quick_gelu: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU() if quick_gelu else nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, token_BTW: Tensor, hidden_TT: Tensor | None = None) -> Tensor:
        """Where `hidden` is True, the row's token does not see the column's."""
        normed_BTW = self.ln_1(token_BTW)
        seen_BTW, _ = self.attn(normed_BTW, normed_BTW, normed_BTW, attn_mask=hidden_TT, need_weights=False)
        token_BTW = token_BTW + seen_BTW
        out: Tensor = token_BTW + self.mlp(self.ln_2(token_BTW))
        return out


class Transformer(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, width: int, depth: int, heads: int, *, quick_gelu: bool) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.resblocks = nn.ModuleList(Block(width, heads, quick_gelu=quick_gelu) for _ in range(depth))

    def initialise(self) -> None:
        """Weights from normal distributions: attention w^-1/2, projections w^-1/2 (2 layers)^-1/2, MLP (2 w)^-1/2."""
        width, depth = self.width, self.depth
        for block in self._blocks():
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * depth) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=width**-0.5 * (2 * depth) ** -0.5)

    def forward(self, token_BTW: Tensor, hidden_TT: Tensor | None = None) -> Tensor:
        """Tokens [B, T, W]."""
        for block in self.resblocks:
            token_BTW = block(token_BTW, hidden_TT)
        return token_BTW

    def _blocks(self) -> Any:
        return self.resblocks
