import pytest
import torch
from torch import Tensor

from trainer.distributed import Gather, Process, Single, gather


def share(ranks: Gather) -> dict[str, Tensor]:
    own = torch.tensor([[1.0, 20.0]]) * (ranks.rank + 1)
    labels = torch.tensor([ranks.rank, 7])
    return {
        "gathered": ranks.all_gather(own),
        "labels": ranks.all_gather(labels),
        "sum": ranks.all_reduce_sum(own),
        "max": ranks.all_reduce_max(-own),
        "scalar": ranks.all_reduce_sum(torch.tensor(ranks.rank)),
        "before": ranks.shift(own),
        "own": own,
    }


@pytest.mark.timeout(900)
def test_two_ranks_see_each_other_in_the_order_of_their_numbers(on_ranks):
    """Rank 0 holds (1, 20) and rank 1 (2, 40): sum (3, 60), largest of the negatives (-1, -20)."""
    for rank, result in enumerate(on_ranks(share, 2)):
        assert result["gathered"].tolist() == [[1, 20], [2, 40]]
        assert result["labels"].tolist() == [0, 7, 1, 7]
        assert result["sum"].tolist() == [[3, 60]]
        assert result["max"].tolist() == [[-1, -20]]
        assert result["scalar"].item() == 1
        assert result["before"].tolist() == [[2 - rank, 20 * (2 - rank)]], "of two, each is before the other"
        assert result["own"].tolist() == [[rank + 1, 20 * (rank + 1)]], "the argument stays as it was"


def test_one_process_needs_no_process_group():
    assert isinstance(gather(), Single)
    assert share(Single())["sum"].tolist() == [[1, 20]]


def test_a_process_group_that_was_never_made_is_said_so():
    with pytest.raises(AssertionError, match="init_process_group"):
        Process()


def test_a_sum_is_a_new_tensor():
    own = torch.ones(2)
    Single().all_reduce_sum(own).add_(1)
    assert own.tolist() == [1, 1]


def test_no_gradient_passes():
    own = torch.ones(2, requires_grad=True)
    assert not Single().all_gather(own).requires_grad
