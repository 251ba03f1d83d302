"""The encoder that a config names: timm's ViT (models/vit.py), or CLIP's ResNet in its place (models/resnet.py).

Both give something that has `.cls`, `model.width` channels wide: what heads and losses see, and what is exported.

Of the ResNet this is what its attention gives before the last projection, which CLIP counts to the ResNet and which is
here the objective's head, as for the ViT: `image_projection`, with the same initial weights, but without a bias.

Shapes: B images, H and W pixels, D width.
"""

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from trainer.config import ModelConfig
from trainer.distributed import Gather, Single
from trainer.models.norms import MapBatchNorm
from trainer.models.resnet import ModifiedResNet
from trainer.models.vit import Encoder, ViT


class Pooled(NamedTuple):
    """What comes out of a ResNet."""

    cls: Tensor
    """[B, D]"""


class ResNet(ModifiedResNet):
    """CLIP's, with BatchNorm over the batch of all ranks, whose running statistics `models.norms.settle` moves.

    Parameters and statistics have OpenAI's names.
    """

    def __init__(self, model: ModelConfig, gather: Gather) -> None:
        norm = partial(MapBatchNorm, gather=gather)
        super().__init__(model.resnet, model.width // 32, model.image_size, embedding=None, norm=norm)

    def forward(self, image_B3HW: Tensor) -> Pooled:  # type: ignore[override]  # the other's gives the feature alone
        """Of normalised images."""
        return Pooled(super().forward(image_B3HW))


class ResNetEncoder(nn.Module):
    """What `Encoder` is for the ViT. There is one feature, whatever the objective pools of a ViT."""

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.resnet = resnet

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features [B, D]; in evaluation mode by running statistics."""
        seen: Pooled = self.resnet(image_B3HW)
        return seen.cls


def backbone(model: ModelConfig, drop_path: float, gather: Gather) -> ViT | ResNet:
    """With fresh weights. `gather`: the ranks that BatchNorm spans."""
    return ResNet(model, gather) if model.resnet else ViT(model, drop_path)


def exported(network: ViT | ResNet, average: bool = False) -> nn.Module:
    """The encoder that a backbone is: normalised images [B, 3, H, W] to features [B, D]. `average` as in `Encoder`."""
    return Encoder(network, average) if isinstance(network, ViT) else ResNetEncoder(network)


def new_encoder(model: ModelConfig, average: bool = False) -> nn.Module:
    """One with fresh weights, frozen and in evaluation mode."""
    return exported(backbone(model, 0.0, Single()), average).eval().requires_grad_(False)
