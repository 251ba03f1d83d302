"""The probe is the published protocol, chooses nothing on the test images, and says when a number is optimistic."""

import math

import pytest
import torch
import torch.nn.functional as F

from config import ConfigError
from tests.trainer.evaluation.toys import PROBE, clusters, features
from trainer.config import EvaluateConfig, LinearProbeConfig
from trainer.evaluation.linear_probe import STD, accuracy, choose_rate, evaluate, fit, standardise


def config(probe: LinearProbeConfig = PROBE) -> EvaluateConfig:
    return EvaluateConfig(linear_probe=probe)


def test_two_steps_by_hand() -> None:
    """One feature, x = 1 of class 0 and x = -1 of class 1, both in one batch of 2, learning rate 1, two epochs.

    Weights start near 0 (0.01), so softmax is 1/2 and the gradient of the weights is
    (1 * (-1/2, 1/2) + -1 * (1/2, -1/2)) / 2 = (-1/2, 1/2). Step 1 (cosine 1): w = (1/2, -1/2).
    Then the logits of x = 1 are (1/2, -1/2), softmax = sigmoid(1) = 0.7311, gradient (-0.2689, 0.2689).
    Momentum: 0.9 * -0.5 - 0.2689 = -0.7189. Step 2 (cosine 1/2): w = 0.5 + 0.3595 = 0.8595. Biases cancel: 0.
    """
    probe = LinearProbeConfig(epochs=2, batch=2)
    x, label = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    rate = 256 / 2  # rates are for a batch of 256
    heads = [(w.clone(), b.clone()) for w, b in fit(x, label, 2, (rate, 0.0), probe)]
    for (weight, bias), expected in zip(heads, (0.5, 0.8595), strict=True):
        torch.testing.assert_close(weight[0, 0], torch.tensor([expected, -expected]), atol=3 * STD, rtol=0)
        torch.testing.assert_close(bias[0], torch.zeros(2), atol=STD, rtol=0)
        assert weight[0, 1].abs().max() < 5 * STD, "a rate of 0 learns nothing"


def test_heads_side_by_side_are_torchs_sgd_one_by_one() -> None:
    x, label = clusters(50, 3, 0.5)
    probe = LinearProbeConfig(epochs=4, batch=16)
    rates = (0.1, 2.0)
    *_, (weight, bias) = fit(x, label, 3, rates, probe)
    for r, rate in enumerate(rates):
        generator = torch.Generator().manual_seed(probe.seed)
        w = (torch.randn(3, 1, 3, generator=generator)[:, 0] * STD).requires_grad_()
        b = torch.zeros(3, requires_grad=True)
        sgd = torch.optim.SGD([w, b], lr=rate * 16 / 256, momentum=0.9)
        cosine = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 0.5 * (1 + math.cos(math.pi * step / 16)))
        for _ in range(4):
            for chosen in torch.randperm(50, generator=generator).split(16):
                sgd.zero_grad()
                F.cross_entropy(x[chosen] @ w + b, label[chosen]).backward()
                sgd.step()
                cosine.step()
        torch.testing.assert_close(weight[:, r], w.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(bias[r], b.detach(), rtol=1e-4, atol=1e-6)


def test_standardising_uses_the_training_images_alone() -> None:
    """Mean of (0, 2) is 1, standard deviation 1; a constant feature becomes 0 and not infinite."""
    train, other = standardise(torch.tensor([[0.0, 7.0], [2.0, 7.0]]), torch.tensor([[3.0, 7.0]]))
    torch.testing.assert_close(train, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(other, torch.tensor([[2.0, 0.0]]))


def test_separable_classes_are_separated_and_random_labels_are_chance() -> None:
    train, label_N = clusters(400, 4, 0.05)
    test, label_M = clusters(1000, 4, 0.05, seed=1)
    found = dict(evaluate(features(train, label_N), features(test, label_M), {"shape": 4}, config()))
    assert found["shape_top1"] == found["shape_top1_best"] == 100.0
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randint(4, (n,), generator=generator) for n in (400, 1000)]
    found = dict(evaluate(features(train, noise[0]), features(test, noise[1]), {"shape": 4}, config()))
    assert abs(found["shape_top1"] - 25) < 5  # 3.6 standard deviations of 1000 guesses


def test_last_and_best_epoch_are_both_reported() -> None:
    train, label_N = clusters(60, 4, 1.0)
    test, label_M = clusters(200, 4, 1.0, seed=1)
    found = dict(evaluate(features(train, label_N), features(test, label_M), {"shape": 4}, config()))
    x, y = standardise(train, test)
    epochs = [float(accuracy(h, y, label_M)[0]) for h in fit(x, label_N, 4, (found["shape_rate"],), PROBE)]
    assert (found["shape_top1"], found["shape_top1_best"]) == (epochs[-1], max(epochs))
    assert found["shape_top1_best"] > found["shape_top1"], "with so little data the curve is not monotonic"


def test_the_rate_is_chosen_without_the_test_images() -> None:
    train, label_N = clusters(100, 4, 0.8)
    test, label_M = clusters(100, 4, 0.8, seed=1)
    tasks = {"shape": 4}
    one = dict(evaluate(features(train, label_N), features(test, label_M), tasks, config()))
    other = dict(evaluate(features(train, label_N), features(-test, 3 - label_M), tasks, config()))
    assert one["shape_rate"] == other["shape_rate"]


def test_a_rate_that_diverges_is_not_chosen_and_the_smallest_of_equals_is() -> None:
    x, label = clusters(200, 4, 0.02)
    probe = PROBE.model_copy(update={"rates": (1e30, 0.5, 0.2)})
    assert choose_rate(x, label, 4, probe) == 0.2


def test_the_same_seed_gives_the_same_numbers() -> None:
    train, test = features(*clusters(100, 4, 0.8)), features(*clusters(100, 4, 0.8, seed=1))
    runs = [list(evaluate(train, test, {"shape": 4}, config())) for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_validation_split_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"linear_probe.validation: 0.2 of 2 images leaves an empty split"):
        choose_rate(torch.eye(2), torch.tensor([0, 1]), 2, PROBE)
