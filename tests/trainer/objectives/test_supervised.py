"""Supervised cross entropy by hand."""

import math

import pytest
import torch

from trainer.concepts import NO_CLASS
from trainer.distributed import Single
from trainer.objectives.supervised import cross_entropy

CLASSES = torch.tensor([0, 1, NO_CLASS])


def test_by_hand():
    """Scores (log 3, 0) give probabilities (3/4, 1/4). With smoothing 0.1 class 0 is (0.95, 0.05), and the loss
    0.95 log 4/3 + 0.05 log 4 = 0.342613. Scores (0, 0) give log 2 = 0.693147. The third image has no class and does not
    count: (0.342613 + 0.693147) / 2 = 0.517880."""
    score = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [5.0, 0.0]])
    loss, known = cross_entropy(score, CLASSES, 0.1, Single())
    assert loss.item() == pytest.approx(0.517880, abs=1e-6)
    assert known == 2


def test_gradient():
    score = torch.tensor([[0.3, -0.2], [0.1, 0.8], [0.5, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: cross_entropy(each, CLASSES, 0.1, Single())[0], [score])


def test_without_a_class_the_loss_and_its_gradient_are_0():
    score = torch.ones(2, 3, requires_grad=True)
    loss, known = cross_entropy(score, torch.full((2,), NO_CLASS), 0.1, Single())
    loss.backward()
    assert loss == known == 0
    assert score.grad is not None
    assert not score.grad.any()
