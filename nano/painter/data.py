"""What the painter and its judge learn from: renders of the world, as tensors, each batch a function of its step."""

import numpy as np
import torch
from torch import Tensor

from nano import captions, world

PAIRS = 0.25  # share of scenes with two things

# The painter's scenes are a stream of their own: the laptop's train and test renders stay unseen.
SCENES_SEED = 0


def scenes(first: int, count: int, *, split: world.Split, pairs: float = PAIRS) -> list[world.Scene]:
    return [world.scene(SCENES_SEED, split, first + i, pairs=pairs) for i in range(count)]


def pictures(batch: list[world.Scene]) -> tuple[Tensor, Tensor]:
    """Pictures [N, 3, 64, 64] in -1..1 (channels last) and where their things are [N, 1, 64, 64] in 0 or 1."""
    rendered = [world.render(scene) for scene in batch]
    image = torch.from_numpy(np.stack([picture for picture, _ in rendered])).permute(0, 3, 1, 2)
    mask = torch.from_numpy(np.stack([mask for _, mask in rendered]) > 0)[:, None]
    return image.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last), mask.float()


def told(batch: list[world.Scene], rng: np.random.Generator, unconditional: float = 0.0) -> list[str]:
    """A caption for each scene; a share of them empty, which is what classifier-free guidance learns from."""
    return ["" if rng.random() < unconditional else captions.describe(scene, rng) for scene in batch]
