"""Frozen features of labelled images, and the encoders they come from.

Shapes: N images, B of them in one batch, D features, H and W pixels.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import ModelConfig
from trainer.models.encoder import new_encoder

Triple = tuple[float, float, float]
PIXELS: Final = 16  # side that raw pixels are averaged to: 768 numbers, where all of 64x64 would be 12288


@dataclass(frozen=True)
class InWords:
    """Images and classes in the common space of images and texts (E)."""

    images: Tensor
    """Features [N, E] of the images."""
    classes: Mapping[str, Tensor]
    """Unit features [C, E] of what tells the classes in words, per task."""


@dataclass(frozen=True)
class Features:
    """One encoder's view of one split."""

    vectors: Tensor
    """Features [N, D], float32, on the CPU."""
    labels: Mapping[str, Tensor]
    """Class of every image per task: int64 [N]."""
    words: InWords | None = None
    """The same images and their classes beside texts; None for encoders that know none."""

    def __len__(self) -> int:
        return len(self.vectors)


class FromPixels(nn.Module):
    """An encoder that takes plain images [B, 3, H, W] in 0..1: it normalises them as its training did.

    Evaluating with another normalisation than that of the training is a classic way to lose points unseen.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, mean: Triple, std: Triple) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features [B, D]."""
        features: Tensor = self.encoder((image_B3HW - self.mean) / self.std)
        return features


class RawPixels(nn.Module):
    """The baseline without any learning: the image itself, averaged to 16 x 16 pixels, as one vector."""

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """[B, 768]"""
        return F.adaptive_avg_pool2d(image_B3HW, PIXELS).flatten(1)


def random_encoder(model: ModelConfig, seed: int) -> nn.Module:
    """The same architecture with the weights it starts from. Leaves torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return new_encoder(model)


@torch.inference_mode()
def extract(
    encoders: Mapping[str, nn.Module],
    batches: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    device: str,
    done: Callable[[int], None],
) -> dict[str, Features]:
    """Features of every encoder, in one pass over the images.

    Args:
        encoders: take images [B, 3, H, W] in 0..1; moved to `device`, in eval mode, float32.
        batches: uint8 images [B, 3, H, W] with their labels.
        done: called with the size of each finished batch.
    """
    ready = {name: encoder.to(device).eval() for name, encoder in encoders.items()}
    parts: dict[str, list[Tensor]] = {name: [] for name in encoders}
    labels: dict[str, list[Tensor]] = {}
    for image_B3HW, classes in batches:
        pixels = image_B3HW.to(device).float() / 255
        for name, encoder in ready.items():
            parts[name].append(encoder(pixels).float().cpu())
        for task, label_B in classes.items():
            labels.setdefault(task, []).append(label_B)
        done(len(image_B3HW))
    together = {task: torch.cat(label) for task, label in labels.items()}
    return {name: Features(torch.cat(part), together) for name, part in parts.items()}
