import math

import pytest
import torch
from torch import Tensor

from trainer.distributed import Single
from trainer.losses.subwords import PLAIN, asl, bce, presence, rarity, soft_margin, softmax, two_way

ONE = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64)
"""Scores of two subwords: sigmoids 1/2 and 3/4, softmax 1/4 and 3/4."""
FIRST = torch.tensor([[True, False]])
ALL = [*PLAIN.values(), lambda score, there: two_way(score, there, Single())]


def wave(rows: int, columns: int, shift: float) -> Tensor:
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return torch.sin(shift + 1.7 * i + 0.31 * j * j)


def test_presence_counts_no_repeats_and_leaves_out_what_is_no_class():
    there = presence(torch.tensor([[4, 1, 1, 5, 0]]), 6, without=[0, 4, 5])
    assert there.tolist() == [[False, True, False, False, False, False]]


def test_rarity_by_hand():
    """Of 4 captions all have subword 0, two subword 1, none subword 2: log(5/5), log(5/3), log(5/1)."""
    weight = rarity(torch.tensor([4, 2, 0]), torch.tensor(4))
    assert weight.tolist() == pytest.approx([0.0, math.log(5 / 3), math.log(5)])


def test_softmax_by_hand():
    """Both subwords are there, with weights 1 and 3: the target is 1/4 and 3/4, the loss its own entropy."""
    loss = softmax(ONE, torch.tensor([[True, True]]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(-(math.log(1 / 4) / 4 + 3 * math.log(3 / 4) / 4))


def test_a_caption_without_a_weight_counts_as_nothing():
    score = ONE.clone().requires_grad_()
    loss = softmax(score, FIRST, torch.tensor([0.0, 1.0]))
    assert loss.item() == 0
    assert torch.autograd.grad(loss.sum(), score)[0].abs().max() == 0


def test_bce_and_soft_margin_by_hand():
    """- log 1/2 for the one that is there, - log(1 - 3/4) for the other: log 2 + log 4 = log 8; its half."""
    assert bce(ONE, FIRST).item() == pytest.approx(math.log(8))
    assert soft_margin(ONE, FIRST).item() == pytest.approx(math.log(8) / 2)


def test_asl_by_hand():
    """log 2 for the one that is there; the other's 3/4 less the margin is 0.7: - 0.7^4 log 0.3."""
    assert asl(ONE, FIRST).item() == pytest.approx(math.log(2) - 0.7**4 * math.log(0.3))


def test_asl_forgets_what_is_nearly_right():
    """A probability of 0.04 for what is not there is within the margin: no loss and no gradient."""
    score = torch.tensor([[50.0, math.log(0.04 / 0.96)]], dtype=torch.float64, requires_grad=True)
    loss = asl(score, FIRST)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(loss.sum(), score)[0][0, 1] == 0


def test_two_way_by_hand():
    """One image: 4 * log exp(-0/4) = 0 and log exp(log 3) = log 3 make log(1 + 3); no subword is there in one image and
    not in another. A second image with the subwords the other way round and the scores 0 and 0: log(1 + 1); then both
    subwords have both: score 0 where it is there and 0 where not, log 2; 0 and log 3, log 4. Their mean is added."""
    assert two_way(ONE, FIRST, Single()).item() == pytest.approx(math.log(4))
    score = torch.cat([ONE, torch.zeros(1, 2, dtype=torch.float64)])
    loss = two_way(score, torch.cat([FIRST, ~FIRST]), Single())
    subwords = (math.log(2) + math.log(4)) / 2
    assert loss.tolist() == pytest.approx([math.log(4) + subwords, math.log(2) + subwords])


@pytest.mark.parametrize("loss", ALL)
def test_gradients_by_finite_differences(loss):
    there = torch.tensor([[True, False, True], [False, False, True], [True, True, True], [False, False, False]])
    assert torch.autograd.gradcheck(lambda score: loss(score, there), [wave(4, 3, 0.3).requires_grad_()])


@pytest.mark.parametrize("loss", ALL)
def test_nothing_overflows(loss):
    score = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    value = loss(score, torch.tensor([[True, False], [True, False]]))
    assert torch.isfinite(value).all()
    assert torch.isfinite(torch.autograd.grad(value.sum(), score)[0]).all()


def test_golden_values_of_two_steps():
    """From an independent computation in numpy, float64: 6 subwords, of which 0 and 5 are in every caption, and two
    ranks of two captions, whose counts are common and whose losses are their own."""
    captions = [[[0, 1, 5], [0, 2, 5], [0, 1, 5], [0, 3, 5]], [[0, 1, 5], [0, 1, 5], [0, 4, 5], [0, 2, 5]]]
    expected = [[1.9790582010, 1.6525029488], [1.6127082804, 1.5699333406]]
    frequency = torch.zeros(6, dtype=torch.int64)
    for step, tokens in enumerate(captions):
        there = presence(torch.tensor(tokens), 6, without=[])
        frequency += there.sum(0)
        weight = rarity(frequency, torch.tensor(4 * (step + 1)))
        if step == 0:
            assert weight.tolist() == pytest.approx([0, 0.510826, 0.916291, 0.916291, 1.609438, 0], abs=1e-6)
        loss = softmax(wave(4, 6, 0.2 + step), there, weight)
        assert loss.view(2, 2).mean(1).tolist() == pytest.approx(expected[step], abs=1e-9)
