"""BatchNorm over the batch, by hand and beside torch's. On several ranks: tests/trainer/objectives."""

import pytest
import torch
from torch import Tensor, nn

from trainer.distributed import Single
from trainer.models.norms import BatchNorm, MapBatchNorm, settle


def test_batch_norm_of_two_rows_by_hand():
    """Rows 1 and 3 have the mean 2 and the deviation 1: -1 and 1, in training and in evaluation."""
    norm = BatchNorm(1, affine=False, gather=Single())
    for mode in (True, False):
        out = norm.train(mode)(torch.tensor([[1.0], [3.0]]))
        torch.testing.assert_close(out, torch.tensor([[-1.0], [1.0]]), atol=1e-5, rtol=0)


def test_batch_norm_keeps_nothing_between_calls():
    """So a second pass over a micro-batch, as accumulation makes, counts nothing twice."""
    norm = BatchNorm(4, affine=True, gather=Single())
    assert not list(norm.buffers())
    row = torch.randn(6, 4)
    first = norm(row)
    norm(10 + 3 * torch.randn(6, 4))
    assert torch.equal(norm(row), first)


def test_batch_norm_and_its_gradients_are_torch_s():
    ours, theirs = BatchNorm(4, affine=True, gather=Single()).double(), nn.BatchNorm1d(4).double()
    row, target = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    outcomes = []
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(torch.arange(1.0, 5.0))
        given = row.clone().requires_grad_()
        out = norm(given)
        (out * target).sum().backward()
        outcomes.append((out, given.grad, norm.weight.grad, norm.bias.grad))
    torch.testing.assert_close(*outcomes)


def images(seed: int = 0) -> Tensor:
    """Maps [2, 3, 4, 5] away from mean 0 and deviation 1."""
    return 2 + 3 * torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_maps() -> tuple[MapBatchNorm, nn.BatchNorm2d]:
    """Ours and torch's with the same scales."""
    ours, theirs = MapBatchNorm(3, Single()).double(), nn.BatchNorm2d(3).double()
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(torch.arange(1.0, 4.0))
            norm.bias.copy_(torch.arange(3.0))
    return ours, theirs


def test_running_statistics_by_hand():
    """A channel of 1 and 3 has the mean 2 and, over one less than the count, the variance 2. A tenth of the way there
    from 0 and 1 are 0.2 and 1.1."""
    norm = MapBatchNorm(1, Single())
    norm(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    assert (norm.running_mean.item(), norm.running_var.item()) == (0, 1)
    norm.settle()
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((0.2, 1.1))


def test_the_norm_of_maps_its_gradients_and_running_statistics_are_torch_s():
    outcomes = []
    for norm in of_maps():
        given = images().requires_grad_()
        out = norm(given)
        (out * images(1)).sum().backward()
        settle(nn.Sequential(norm))
        outcomes.append((out, given.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    torch.testing.assert_close(*outcomes)


def test_in_evaluation_the_running_statistics_norm_as_torch_s_do():
    ours, theirs = of_maps()
    for norm in (ours, theirs):
        norm(images())
        settle(norm)
        norm.eval()
    torch.testing.assert_close(ours(images(1)), theirs(images(1)))


def test_running_statistics_move_once_for_each_step():
    """By the last forward before it; no second time without another forward."""
    once, often = of_maps()[0], of_maps()[0]
    once(images())
    for seed in (1, 2, 0):
        often(images(seed))
    for norm in (once, often, often):
        norm.settle()
    assert torch.equal(once.running_mean, often.running_mean)
    assert torch.equal(once.running_var, often.running_var)


def test_maps_keep_their_precision_and_are_normed_in_float32():
    """Around 300 bfloat16 knows every second number only: a mean in bfloat16 would be off by more than a deviation."""
    norm = MapBatchNorm(1, Single())
    out = norm((300 + 2 * torch.arange(8.0)).view(8, 1, 1, 1).bfloat16())
    assert out.dtype == torch.bfloat16
    expected = (torch.arange(8.0) - 3.5) / 5.25**0.5
    torch.testing.assert_close(out.float().flatten(), expected, rtol=0.01, atol=0)
