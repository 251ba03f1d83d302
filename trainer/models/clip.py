"""CLIP's models by name: both towers as they were published (Radford et al. 2021, Tables 19 and 20; open_clip's
model_configs).

The objectives here train timm's ViT (models/vit.py), so that they can be compared. This is the other use: weights that
OpenAI and open_clip published, to measure beside ours or to begin from. timm's ViT computes the same with the right
switches, but under other names and with a bias in its last layer that CLIP does not have.

Parameters have OpenAI's names below `visual` and `text`. Names are open_clip's: those that end in -quickgelu are for
OpenAI's weights, and for open_clip's that say so.

Shapes: B images or texts, H and W pixels, T tokens, W width, E embedding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ConfigError
from trainer.config import TextConfig
from trainer.models.resnet import ModifiedResNet
from trainer.models.text import TextTower
from trainer.models.transformer import Transformer

VOCABULARY: Final = 49408
CONTEXT: Final = 77


@dataclass(frozen=True)
class ResNetForm:
    """Sizes of a `ModifiedResNet`."""

    layers: tuple[int, int, int, int]
    width: int


@dataclass(frozen=True)
class ViTForm:
    """Sizes of a `ClipViT`."""

    patch: int
    width: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Architecture:
    """Both towers of a CLIP model."""

    image: ResNetForm | ViTForm
    text: TextConfig
    embedding: int
    image_size: int = 224
    vocabulary: int = VOCABULARY
    context: int = CONTEXT


def _text(width: int, *, depth: int = 12) -> TextConfig:
    return TextConfig(width=width, depth=depth, heads=width // 64)


_GELU: Final = {
    "RN50": Architecture(ResNetForm((3, 4, 6, 3), 64), _text(512), 1024),
    "RN101": Architecture(ResNetForm((3, 4, 23, 3), 64), _text(512), 512),
    "RN50x4": Architecture(ResNetForm((4, 6, 10, 6), 80), _text(640), 640, image_size=288),
    "RN50x16": Architecture(ResNetForm((6, 8, 18, 8), 96), _text(768), 768, image_size=384),
    "RN50x64": Architecture(ResNetForm((3, 15, 36, 10), 128), _text(1024), 1024, image_size=448),
    "ViT-B-32": Architecture(ViTForm(32, 768, 12, 12), _text(512), 512),
    "ViT-B-16": Architecture(ViTForm(16, 768, 12, 12), _text(512), 512),
    "ViT-L-14": Architecture(ViTForm(14, 1024, 24, 16), _text(768), 768),
    "ViT-L-14-336": Architecture(ViTForm(14, 1024, 24, 16), _text(768), 768, image_size=336),
    "ViT-H-14": Architecture(ViTForm(14, 1280, 32, 16), _text(1024, depth=24), 1024),
}
QUICK: Final = "-quickgelu"
ARCHITECTURES: Final[Mapping[str, Architecture]] = _GELU | {
    f"{name}{QUICK}": replace(form, text=form.text.model_copy(update={"quick_gelu": True}))
    for name, form in _GELU.items()
}


class ClipViT(nn.Module):
    """CLIP's vision transformer: no bias in the patches' embedding, a norm before the blocks, and a projection of the
    class token into the common space."""

    def __init__(self, form: ViTForm, image_size: int, embedding: int, *, quick_gelu: bool) -> None:
        super().__init__()
        width, spread = form.width, form.width**-0.5
        self.conv1 = nn.Conv2d(3, width, form.patch, stride=form.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * spread)
        self.positional_embedding = nn.Parameter(torch.randn((image_size // form.patch) ** 2 + 1, width) * spread)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, form.depth, form.heads, quick_gelu=quick_gelu)
        self.transformer.initialise()
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embedding) * spread)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features [B, E]."""
        patch_BTW = self.conv1(image_B3HW).flatten(2).transpose(1, 2)
        class_B1W = self.class_embedding.expand(len(patch_BTW), 1, -1)
        token_BTW = self.ln_pre(torch.cat([class_B1W, patch_BTW], 1) + self.positional_embedding)
        feature_BE: Tensor = self.ln_post(self.transformer(token_BTW)[:, 0]) @ self.proj
        return feature_BE


class ClipModel(nn.Module):
    """Both towers and the scale of their logits, kept as its logarithm."""

    def __init__(self, form: Architecture) -> None:
        super().__init__()
        self.visual = _image_tower(form)
        self.text = TextTower(form.text, form.vocabulary, form.context, form.embedding)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, image_B3HW: Tensor, token_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features [B, E] of normalised images and of tokens."""
        return F.normalize(self.visual(image_B3HW), dim=1), F.normalize(self.text(token_BT), dim=1)


def architecture(name: str) -> Architecture:
    """Raises ConfigError naming the known ones."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"no CLIP model is called {name!r}; known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _image_tower(form: Architecture) -> nn.Module:
    image = form.image
    if isinstance(image, ResNetForm):
        return ModifiedResNet(image.layers, image.width, form.image_size, form.embedding)
    return ClipViT(image, form.image_size, form.embedding, quick_gelu=form.text.quick_gelu)
