"""The vision transformer: timm's, with masked tokens and crops of any size.

SynCLR's model (Sec. 3.3, Table 12): class token, learned position embedding, pre-norm blocks with biases, an MLP of
GELU (no SwiGLU), no LayerScale, LayerNorm epsilon 1e-6, stochastic depth that grows linearly over the blocks. Weights
start from a truncated normal (0.02), the class token from N(0, 1e-6), the mask token from N(0, 0.02).

The parameters are timm's by name, plus `mask_token`: an exported encoder loads into timm's own model.

Shapes: B images, H and W pixels, N patches (row by row), D width.
"""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from trainer.config import ModelConfig


class Tokens(NamedTuple):
    """What comes out of the last norm."""

    cls: Tensor
    """[B, D]"""
    patches: Tensor
    """[B, N, D]"""


class ConvStem(nn.Module):
    """Convolutions of 3 pixels and stride 2, their channels doubling, until a patch is a token, then one linear map
    ("Early Convolutions Help Transformers See Better", Xiao et al. 2021).

    Each channel is normalised over its own image (instance norm): no image depends on the others of its batch, whatever
    ranks or micro-batches they are on. The paper's BatchNorm does, and outlines were learnt later with it.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        halvings = patch.bit_length() - 1
        widths = [3, *(width >> left for left in reversed(range(halvings)))]
        self.net = nn.Sequential()
        for before, after in pairwise(widths):
            conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            self.net.extend([conv, nn.GroupNorm(after, after), nn.GELU()])
        self.net.append(nn.Conv2d(width, width, 1))

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Patches [B, H / patch, W / patch, D]."""
        patch_BDHW: Tensor = self.net(image_B3HW)
        return patch_BDHW.permute(0, 2, 3, 1)


class ViT(VisionTransformer):
    """A ViT that takes crops of any multiple of its patch size, and replaces masked patches by one learned token."""

    cls_token: nn.Parameter
    pos_embed: nn.Parameter

    def __init__(self, model: ModelConfig, drop_path: float = 0.0) -> None:
        """`drop_path` is given apart: the student has the config's, the teacher and an exported encoder have 0."""
        super().__init__(
            img_size=model.image_size,
            patch_size=model.patch_size,
            embed_dim=model.width,
            depth=model.depth,
            num_heads=model.heads,
            mlp_ratio=model.mlp_ratio,
            num_classes=0,
            drop_path_rate=drop_path,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            dynamic_img_size=True,  # patches come as a grid, which tells the size of the crop
        )
        if model.stem == "conv":
            self.patch_embed = ConvStem(model.patch_size, model.width)
        self.grid = model.image_size // model.patch_size
        self.mask_token = nn.Parameter(torch.empty(1, 1, model.width))
        nn.init.normal_(self.mask_token, std=0.02)
        if model.init == "xavier":
            for linear in self.blocks.modules():
                if isinstance(linear, nn.Linear):
                    nn.init.xavier_uniform_(linear.weight)
        # At the token counts that a CPU can train, torch's fused attention takes twice as long as the plain one.
        for module in self.modules():
            if isinstance(module, Attention):
                module.fused_attn = torch.cuda.is_available()  # type: ignore[misc]  # Final, but has no argument

    def forward(self, image_B3HW: Tensor, mask_BN: Tensor | None = None) -> Tokens:  # type: ignore[override]  # timm's gives class scores
        """Normalised tokens of normalised images. Where the boolean mask is True the student does not see the patch.

        A patch is masked after its embedding and before its position is added, so that its place is known.
        """
        patch_BHWD = self.patch_embed(image_B3HW)
        patch_BND = patch_BHWD.flatten(1, 2)
        if mask_BN is not None:
            patch_BND = torch.where(mask_BN[..., None], self.mask_token.to(patch_BND.dtype), patch_BND)
        cls_B1D = self.cls_token.expand(patch_BND.shape[0], -1, -1)
        token = torch.cat([cls_B1D, patch_BND], 1) + self._positions(patch_BHWD.shape[1], patch_BHWD.shape[2])
        token = self.norm(self.blocks(token))
        return Tokens(token[:, 0], token[:, 1:])

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding for a grid of patches, bicubically resampled if it is not the one that is learned.

        Resampled to the size itself. The reference hands over a ratio and adds 0.1 so that rounding cannot lose a row;
        asking for the size needs no such trick.
        """
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        learned_1DHW = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        resampled_1DHW = F.interpolate(learned_1DHW, size=(rows, columns), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resampled_1DHW.flatten(2).transpose(1, 2)], 1)


class Encoder(nn.Module):
    """What pretraining is for: normalised images in, features out."""

    def __init__(self, vit: ViT, average: bool = False) -> None:
        """`average`: the feature is the mean of the patches and not the class token."""
        super().__init__()
        self.vit, self.average = vit, average

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features [B, D], after the final norm."""
        tokens: Tokens = self.vit(image_B3HW)
        return tokens.patches.mean(1) if self.average else tokens.cls
