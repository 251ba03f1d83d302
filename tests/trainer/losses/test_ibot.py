import math

import pytest
import torch
from torch import Tensor

from trainer.distributed import Gather, Single
from trainer.losses.ibot import Masked, masked_token_loss, masked_tokens, sinkhorn


def wave(rows: int, columns: int, shift: float) -> Tensor:
    """The golden inputs: sin(shift + 1.7 i + 0.31 j^2), in float64."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return torch.sin(shift + 1.7 * i + 0.31 * j * j)


def share(gather: Gather) -> dict[str, Tensor]:
    """Four crops of three tokens, the first two on rank 0, the last two on rank 1; masks of 2, 1, 3 and 0 tokens.
    The student's scores pass through a weight, as through a network, so that gradients can be compared."""
    return _share(gather, torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]]))


def share_nothing_masked_on_rank_1(gather: Gather) -> dict[str, Tensor]:
    return _share(gather, torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]))


def _share(gather: Gather, mask: Tensor) -> dict[str, Tensor]:
    here = slice(gather.rank * 4 // gather.world, (gather.rank + 1) * 4 // gather.world)
    student, teacher = (wave(12, 5, shift).view(4, 3, 5)[here].flatten(0, 1) for shift in (0.2, 0.7))
    masked = masked_tokens(mask.bool()[here])
    weight = torch.eye(5, dtype=torch.float64, requires_grad=True)
    target = sinkhorn(teacher[masked.tokens], 0.07, 3, gather)
    loss = masked_token_loss((student @ weight)[masked.tokens], target, masked.weights, masked.crops, 0.1, gather)
    loss.backward()
    assert weight.grad is not None
    return {"loss": loss.detach(), "gradient": weight.grad, "target": target}


def test_loss_by_hand():
    """Student odds of 3 to 1 for prototype 0, so -log s = (log 4/3, log 4). Crop 0 has two masked tokens with targets
    (1, 0) and (0, 1): mean (log 4/3 + log 4) / 2. Crop 1 has one with target (1, 0): log 4/3. Crop 2 has none and does
    not count (DINOv2 would divide by 3). Together (0.836988 + 0.287682) / 2 = 0.562335."""
    mask = torch.tensor([[True, True], [False, True], [False, False]])
    student = 0.1 * torch.tensor([[math.log(3), 0.0]]).repeat(3, 1)
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    masked = masked_tokens(mask)
    loss = masked_token_loss(student, target, masked.weights, masked.crops, 0.1, Single())
    assert loss.item() == pytest.approx(((math.log(4 / 3) + math.log(4)) / 2 + math.log(4 / 3)) / 2)


def test_masked_tokens_by_hand():
    masked = masked_tokens(torch.tensor([[True, True], [False, False], [False, True]]))
    assert masked.tokens.tolist() == [0, 1, 5]
    assert masked.weights.tolist() == [0.5, 0.5, 1.0]
    assert masked.crops.tolist() == [True, False, True]


def test_sinkhorn_by_hand():
    """Q = ((1, 1), (1, 3)), tokens as rows. Prototypes sum to 2 and 4, giving ((1/2, 1/4), (1/2, 3/4)); each token to
    the sum 1: ((2/3, 1/3), (2/5, 3/5)). That is one iteration."""
    score = 0.04 * torch.tensor([[1.0, 1.0], [1.0, 3.0]]).log()
    target = sinkhorn(score, 0.04, 1, Single())
    torch.testing.assert_close(target, torch.tensor([[2 / 3, 1 / 3], [2 / 5, 3 / 5]]))


def test_sinkhorn_golden_values():
    """From an independent computation in numpy, float64, with exponentials."""
    target = sinkhorn(wave(5, 4, 0.4), 0.07, 3, Single())
    expected = torch.tensor([7.3869000e-04, 2.6674880e-02, 9.7258608e-01, 3.4000000e-07], dtype=torch.float64)
    torch.testing.assert_close(target[0], expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(target.sum(1), torch.ones(5, dtype=torch.float64))


def test_sinkhorn_is_fair_to_prototypes_in_the_end():
    target = sinkhorn(wave(6, 3, 0.4), 0.5, 200, Single())
    torch.testing.assert_close(target.sum(0), torch.full((3,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("scale", [3.6, 8.0, 1000.0])
def test_sinkhorn_neither_overflows_nor_underflows(scale):
    """At temperature 0.04 a trained scale of 3.6 is past exp's range in fp32. One token scores lowest everywhere, so
    that all of it would vanish after the subtraction of one maximum."""
    score = scale * wave(6, 5, 0.4)
    score[3] = -scale
    target = sinkhorn(score.float(), 0.04, 3, Single())
    assert target.dtype == torch.float32
    torch.testing.assert_close(target.sum(1), torch.ones(6))
    if scale < 10:
        # In float64 the exponentials of the textbook form still fit.
        textbook = (score / 0.04 - (score / 0.04).max()).exp()
        for _ in range(3):
            textbook = textbook / textbook.sum(0)
            textbook = textbook / textbook.sum(1, keepdim=True)
        torch.testing.assert_close(target, textbook.float(), rtol=1e-3, atol=1e-6)


def test_sinkhorn_changes_none_of_its_arguments():
    score, temperature = wave(5, 4, 0.4).float().requires_grad_(), torch.tensor(0.07)
    before = score.detach().clone()
    target = sinkhorn(score, temperature, 3, Single())
    assert torch.equal(score, before)
    assert temperature.item() == pytest.approx(0.07)
    assert not target.requires_grad


def test_the_loss_changes_none_of_its_arguments():
    masked = masked_tokens(torch.tensor([[True, True, False]]))
    before = [each.clone() for each in masked]
    masked_token_loss(wave(2, 4, 0.2), wave(2, 4, 0.4).softmax(1), masked.weights, masked.crops, 0.1, Single())
    assert all(torch.equal(after, each) for after, each in zip(masked, before, strict=True))


def test_gradient():
    """By finite differences in float64."""
    masked = masked_tokens(torch.tensor([[True, True, False], [False, True, False]]))
    target = wave(3, 4, 0.4).softmax(1)

    def loss(student: Tensor) -> Tensor:
        return masked_token_loss(student, target, masked.weights, masked.crops, 0.1, Single())

    assert torch.autograd.gradcheck(loss, [wave(3, 4, 0.2).requires_grad_()])


def test_without_a_masked_crop_the_loss_and_its_gradient_are_0():
    masked = masked_tokens(torch.zeros(2, 3, dtype=torch.bool))
    weight = torch.eye(4, requires_grad=True)
    student = torch.zeros(6, 4)[masked.tokens] @ weight
    target = sinkhorn(torch.zeros(0, 4), 0.04, 3, Single())
    loss = masked_token_loss(student, target, masked.weights, masked.crops, 0.1, Single())
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None
    assert weight.grad.abs().sum() == 0


def test_half_precision_in_and_full_precision_inside():
    masked = Masked(torch.arange(4), torch.full((4,), 0.25), torch.tensor([True]))
    student, target = wave(4, 6, 0.2).bfloat16(), wave(4, 6, 0.4).softmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = masked_token_loss(student, target.float(), masked.weights, masked.crops, 0.1, Single())
        assert sinkhorn(student, 0.04, 3, Single()).dtype == torch.float32
    assert loss.dtype == torch.float32
    exact = masked_token_loss(student.double(), target, masked.weights, masked.crops, 0.1, Single())
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", [share, share_nothing_masked_on_rank_1])
def test_two_processes_give_the_loss_and_gradient_of_one(on_ranks, part):
    """Although rank 1 has fewer masked crops than rank 0, or none."""
    whole, parts = part(Single()), on_ranks(part, 2)
    for name in ("loss", "gradient"):
        mean = torch.stack([each[name] for each in parts]).mean(0)
        torch.testing.assert_close(mean, whole[name], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([each["target"] for each in parts]), whole["target"], rtol=1e-12, atol=1e-12)
