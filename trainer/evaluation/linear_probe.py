"""A linear classifier on frozen features.

The protocol of StableRep and SynCLR (B.2) for ImageNet, on features that are extracted once: BatchNorm without affine
parameters, one linear layer from N(0, 0.01), SGD with momentum 0.9 and no weight decay, half a cosine to zero, all
learning rates trained side by side as heads that see the same batches.

What deviates, and why:
* the learning rate is chosen on a split of the training images and trained again on all of them; the published numbers
  choose it on the images that they report;
* the last epoch is the result. The best epoch, which published numbers tend to be, is chosen on the test images and
  stands beside it so that the two can be told apart;
* features are frozen and cached (no crops, no flips), so BatchNorm's statistics are those of all training images at
  once: the limit that its running mean and variance tend to.

Shapes: N images, B of them in a batch, D features, C classes, R learning rates (heads).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from config import ConfigError
from trainer.config import EvaluateConfig, LinearProbeConfig
from trainer.evaluation.features import Features

EPSILON: Final = 1e-6  # of the reference's BatchNorm
STD: Final = 0.01  # of the initial weights


def evaluate(
    train: Features, test: Features, classes: Mapping[str, int], config: EvaluateConfig
) -> Iterator[tuple[str, float]]:
    """Yields per task `<task>_top1` (percent, last epoch), `<task>_top1_best` (best epoch) and `<task>_rate`.

    Raises:
        ConfigError: too few training images to split off a validation set.
    """
    probe = config.linear_probe
    for task, count in classes.items():
        label_N = train.labels[task]
        rate = choose_rate(train.vectors, label_N, count, probe)
        x_ND, test_MD = standardise(train.vectors, test.vectors)
        epochs = [
            float(accuracy(head, test_MD, test.labels[task])[0]) for head in fit(x_ND, label_N, count, (rate,), probe)
        ]
        yield f"{task}_top1", epochs[-1]
        yield f"{task}_top1_best", max(epochs)
        yield f"{task}_rate", rate


def choose_rate(x_ND: Tensor, label_N: Tensor, classes: int, probe: LinearProbeConfig) -> float:
    """The learning rate that is best, after its last epoch, on images split off; the smallest of several."""
    held_out = round(len(x_ND) * probe.validation)
    if not 0 < held_out < len(x_ND):
        raise ConfigError(f"linear_probe.validation: {probe.validation} of {len(x_ND)} images leaves an empty split")
    order = torch.randperm(len(x_ND), generator=torch.Generator().manual_seed(probe.seed))
    fitted, validation = order[held_out:], order[:held_out]
    fitted_ND, validation_MD = standardise(x_ND[fitted], x_ND[validation])
    *_, last = fit(fitted_ND, label_N[fitted], classes, probe.rates, probe)
    scores = accuracy(last, validation_MD, label_N[validation])
    return min(rate for rate, score in zip(probe.rates, scores, strict=True) if score == scores.max())


def standardise(train_ND: Tensor, other_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the training images' mean taken off and divided by their standard deviation."""
    variance_D, mean_D = torch.var_mean(train_ND, dim=0, correction=0)
    scale_D = (variance_D + EPSILON).rsqrt()
    return (train_ND - mean_D) * scale_D, (other_MD - mean_D) * scale_D


def fit(
    x_ND: Tensor, label_N: Tensor, classes: int, rates: Sequence[float], probe: LinearProbeConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Trains one head per learning rate; yields weights [D, R, C] and biases [R, C] after every epoch.

    All heads start alike and see the same batches, so one product of matrices serves them all. The gradient of the
    cross-entropy is written out: softmax minus one-hot, over B.
    """
    generator = torch.Generator().manual_seed(probe.seed)
    D, R = x_ND.shape[1], len(rates)
    weight_DRC = (torch.randn(D, 1, classes, generator=generator) * STD).repeat(1, R, 1)
    bias_RC = torch.zeros(R, classes)
    weight_DK, bias_K = weight_DRC.flatten(1), bias_RC.flatten()  # the same memory, K = R x C columns
    speed_DK, speed_K = torch.zeros_like(weight_DK), torch.zeros_like(bias_K)
    rate_R1 = torch.tensor(rates)[:, None] * probe.batch / 256
    steps = math.ceil(len(x_ND) / probe.batch) * probe.epochs
    step = 0
    for _ in range(probe.epochs):
        for chosen in torch.randperm(len(x_ND), generator=generator).split(probe.batch):
            x_BD = x_ND[chosen]
            gradient_BRC = torch.addmm(bias_K, x_BD, weight_DK).view(-1, R, classes).softmax(2)
            gradient_BRC -= F.one_hot(label_N[chosen], classes)[:, None]
            # The rate goes into the gradient: then the momentum carries it, and one schedule serves all heads.
            gradient_BRC *= rate_R1 / len(x_BD)
            gradient_BK = gradient_BRC.flatten(1)
            speed_DK.addmm_(x_BD.T, gradient_BK, beta=probe.momentum)
            speed_K.mul_(probe.momentum).add_(gradient_BK.sum(0))
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            weight_DK.sub_(speed_DK, alpha=cosine)
            bias_K.sub_(speed_K, alpha=cosine)
            step += 1
        yield weight_DRC, bias_RC


def accuracy(head: tuple[Tensor, Tensor], x_ND: Tensor, label_N: Tensor) -> Tensor:
    """Top-1 in percent of every head: [R]."""
    weight_DRC, bias_RC = head
    logits_NRC = (x_ND @ weight_DRC.flatten(1)).view(len(x_ND), *bias_RC.shape) + bias_RC
    return 100 * (logits_NRC.argmax(2) == label_N[:, None]).float().mean(0)
