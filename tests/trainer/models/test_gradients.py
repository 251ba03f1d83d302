"""The gradient of every network and head, by what goes in and by every parameter, is that of finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.objectives.small import RESNET
from trainer.config import ModelConfig, TextConfig
from trainer.distributed import Single
from trainer.models.encoder import ResNet
from trainer.models.heads import PrototypeHead, contrastive_head, siamese_heads
from trainer.models.norms import BatchNorm, MapBatchNorm
from trainer.models.resnet import AttentionPool, Bottleneck
from trainer.models.text import Learned, Temperature, TextTower, image_projection
from trainer.models.vit import ViT

SMALL = ModelConfig(image_size=16, patch_size=8, width=8, depth=2, heads=2)
MASK = torch.tensor([[True, False, False, True], [False, False, True, False]])
TOKENS = torch.tensor([[5, 2, 3, 6], [5, 4, 6, 0]])

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: ViT(SMALL),
    "vit with a convolutional stem": lambda: ViT(SMALL.model_copy(update={"stem": "conv"})),
    "resnet": lambda: ResNet(RESNET, Single()),
    "bottleneck": lambda: Bottleneck(8, 2, stride=2, norm=lambda channels: MapBatchNorm(channels, Single())),
    "attention pool": lambda: AttentionPool(2, 8, 2, 4),
    "batch norm": lambda: BatchNorm(8, affine=True, gather=Single()),
    "batch norm of maps": lambda: MapBatchNorm(8, Single()),
    "contrastive head": lambda: contrastive_head(8, 6, 4, layers=3),
    "contrastive head, norms of the batch": lambda: contrastive_head(8, 6, 4, layers=2, batch_of=Single()),
    "siamese projector": lambda: siamese_heads(8, 6, 4, Single())[0],
    "siamese predictor": lambda: siamese_heads(6, 8, 4)[1],
    "prototypes": lambda: PrototypeHead(8, 6, 4, prototypes=5, layers=2),
    "image projection": lambda: image_projection(8, 4),
    "text tower": lambda: TextTower(TextConfig(width=8, depth=2, heads=2), vocabulary=7, context=4, embedding=4),
    "temperature": lambda: Temperature(10.0, largest=100.0),
    "learned number": lambda: Learned(0.5),
}


def inputs(network: nn.Module) -> list[Tensor]:
    """What it takes: two images, two maps, or five rows; nothing where that is numbers or nothing."""
    shape: tuple[int, ...]
    match network:
        case TextTower() | Temperature() | Learned():
            return []
        case ViT():
            shape = (2, 3, 16, 16)
        case ResNet():
            shape = (2, 3, 64, 64)
        case AttentionPool():
            shape = (2, 8, 2, 2)
        case Bottleneck() | MapBatchNorm():
            shape = (2, 8, 4, 4)
        case nn.Sequential() | nn.Linear():
            shape = (5, next(network.parameters()).shape[1])
        case _:
            shape = (5, 8)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True)]


def outputs(network: nn.Module, *given: Tensor) -> tuple[Tensor, ...]:
    """All that it gives; a ViT's patches too, some of them masked."""
    if isinstance(network, TextTower):
        given = (TOKENS,)
    found = network(*given, MASK) if isinstance(network, ViT) else network(*given)
    return tuple(found) if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_finite_differences(name: str):
    """In float64, along random directions (gradcheck's fast mode), from weights that are not those of the start, which
    hide much: a class token of nearly nothing, norms that begin at 0."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    given = inputs(network)

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return outputs(network, *values[: len(given)])

    assert torch.autograd.gradcheck(function, [*given, *network.parameters()], fast_mode=True)
