"""CLIP's residual network (Radford et al. 2021, Sec. 2.4; openai/CLIP, clip/model.py).

Three convolutions in place of one at the start, and an average instead of a maximum after them; wherever a stride would
skip pixels, an average of them comes before (anti-aliasing: Zhang 2019), in the shortcuts too; in place of the average
over the last map, attention to it by its own average. Parameters have OpenAI's names. Every block's last norm starts at
0, so that the block starts as its shortcut; the attention's weights start from N(0, 1/channels).

Published weights run with torch's BatchNorm; what is trained here has norms that span all ranks (models/norms.py).

Shapes: B images, H and W pixels, C channels, T the average and all places of the last map, E embedding.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION: Final = 4  # a bottleneck gives four times the channels it works in
Norm = Callable[[int], nn.Module]
"""Makes the norm of so many channels."""


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1; all convolutions have stride 1, an average halves the map."""

    def __init__(self, before: int, inner: int, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        after = inner * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(before, inner, 1, bias=False), norm(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False), norm(inner)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(inner, after, 1, bias=False), norm(after)
        nn.init.zeros_(self.bn3.get_parameter("weight"))
        self.downsample = None if stride == 1 and before == after else _shortcut(before, after, stride, norm)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        out_BCHW = F.relu(self.bn1(self.conv1(map_BCHW)))
        out_BCHW = F.relu(self.bn2(self.conv2(out_BCHW)))
        out_BCHW = self.bn3(self.conv3(self.avgpool(out_BCHW)))
        short_BCHW: Tensor = map_BCHW if self.downsample is None else self.downsample(map_BCHW)
        return F.relu(out_BCHW + short_BCHW)


class AttentionPool(nn.Module):
    """One feature of a map: its average, with a position like every place, asks all places and itself."""

    def __init__(self, side: int, channels: int, heads: int, embedding: int | None) -> None:
        """`embedding`: width of the common space, into which a last layer projects; None leaves that to others."""
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, channels) * channels**-0.5)
        self.q_proj, self.k_proj = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Identity() if embedding is None else nn.Linear(channels, embedding)
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=channels**-0.5)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        """Features [B, E], or [B, C] without the projection."""
        place_BTC = map_BCHW.flatten(2).transpose(1, 2)
        token_BTC = torch.cat([place_BTC.mean(1, keepdim=True), place_BTC], 1) + self.positional_embedding
        query_B1C, key_BTC, value_BTC = self.q_proj(token_BTC[:, :1]), self.k_proj(token_BTC), self.v_proj(token_BTC)
        query, key, value = (_by_head(tensor, self.heads) for tensor in (query_B1C, key_BTC, value_BTC))
        seen_BC = F.scaled_dot_product_attention(query, key, value).flatten(1)
        feature_BE: Tensor = self.c_proj(seen_BC)
        return feature_BE


class ModifiedResNet(nn.Module):
    """Normalised images of one size to features, of the common space if there is one."""

    def __init__(
        self, layers: Sequence[int], width: int, image_size: int, embedding: int | None, norm: Norm = nn.BatchNorm2d
    ) -> None:
        """`layers`: bottlenecks of the four stages; `width`: channels after the stem; `embedding` as in
        `AttentionPool`. Attention heads are 64 channels wide."""
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), norm(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), norm(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), norm(width)
        self.avgpool = nn.AvgPool2d(2)
        before = width
        for number, count in enumerate(layers):
            inner, stride = width * 2**number, 1 if number == 0 else 2
            rest = (Bottleneck(inner * EXPANSION, inner, norm=norm) for _ in range(count - 1))
            self.add_module(f"layer{number + 1}", nn.Sequential(Bottleneck(before, inner, stride, norm), *rest))
            before = inner * EXPANSION
        self.attnpool = AttentionPool(image_size // 32, before, before // 64, embedding)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features [B, E], or [B, C] without the projection."""
        map_BCHW = F.relu(self.bn1(self.conv1(image_B3HW)))
        map_BCHW = F.relu(self.bn2(self.conv2(map_BCHW)))
        map_BCHW = self.avgpool(F.relu(self.bn3(self.conv3(map_BCHW))))
        for number in range(1, 5):
            map_BCHW = self.get_submodule(f"layer{number}")(map_BCHW)
        feature_BE: Tensor = self.attnpool(map_BCHW)
        return feature_BE


def _shortcut(before: int, after: int, stride: int, norm: Norm) -> nn.Sequential:
    shortcut = nn.Sequential()
    shortcut.add_module("-1", nn.AvgPool2d(stride))  # OpenAI's names: the convolution is number 0
    shortcut.add_module("0", nn.Conv2d(before, after, 1, bias=False))
    shortcut.add_module("1", norm(after))
    return shortcut


def _by_head(token_BTC: Tensor, heads: int) -> Tensor:
    batch, tokens, channels = token_BTC.shape
    return token_BTC.view(batch, tokens, heads, channels // heads).transpose(1, 2)
