"""Weighted k-nearest neighbours on frozen features.

DINO, Caron et al. 2021, Sec. 4.1 (protocol of Wu et al. 2018): the k training images with the highest cosine vote for
their class with weight exp(cosine / T), T = 0.07; the class with the most votes wins. Nothing is trained or chosen, so
the number says what the features are as they stand.

Shapes: N training and M test images, D features, C classes, K the largest k.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from config import ConfigError
from trainer.config import EvaluateConfig
from trainer.evaluation.features import Features

CHUNK: Final = 1000  # test images compared at once: 1000 x N cosines in memory


def evaluate(
    train: Features, test: Features, classes: Mapping[str, int], config: EvaluateConfig
) -> Iterator[tuple[str, float]]:
    """Yields `<task>_top1` (percent) for the first k, and `<task>_top1_k<k>` for every k.

    Raises:
        ConfigError: a k is larger than the number of training images.
    """
    ks, temperature = config.knn.neighbours, config.knn.temperature
    if not 0 < min(ks) <= max(ks) <= len(train):
        raise ConfigError(f"knn.neighbours must be between 1 and the {len(train)} training images, got {ks}")
    similarity_MK, index_MK = nearest(train.vectors, test.vectors, max(ks))
    for task, count in classes.items():
        label_MK = train.labels[task][index_MK]
        right = {k: vote(similarity_MK[:, :k], label_MK[:, :k], count, temperature) == test.labels[task] for k in ks}
        top1 = {k: 100 * float(hit_M.float().mean()) for k, hit_M in right.items()}
        yield f"{task}_top1", top1[ks[0]]
        yield from ((f"{task}_top1_k{k}", value) for k, value in top1.items())


def nearest(train_ND: Tensor, test_MD: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k training images most like each test image, best first: cosines [M, k] and positions [M, k]."""
    keys_DN = F.normalize(train_ND, dim=1).T
    chunks = [torch.topk(F.normalize(part, dim=1) @ keys_DN, k) for part in test_MD.split(CHUNK)]
    return torch.cat([c.values for c in chunks]), torch.cat([c.indices for c in chunks])


def vote(similarity_MK: Tensor, label_MK: Tensor, classes: int, temperature: float) -> Tensor:
    """The class [M] with the largest sum of exp(cosine / T)."""
    # The largest exponent is taken off first, which changes no winner: a small T would overflow otherwise.
    weight_MK = ((similarity_MK - similarity_MK[:, :1]) / temperature).exp()
    return torch.zeros(len(label_MK), classes).scatter_add_(1, label_MK, weight_MK).argmax(1)
