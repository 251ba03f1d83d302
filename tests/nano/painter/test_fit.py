"""The painter's training loop continues where it stopped."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nano.painter.fit import Average, Metrics, fit


def _run(folder: Path, die_at: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step: int) -> tuple[Tensor, Metrics]:
        if step == die_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        value = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return value, {"loss": value.item()}

    folder.mkdir(exist_ok=True)
    return fit("line", model, loss, steps=40, lr=0.1, folder=folder, warmup=5, every=2)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "cut", die_at=21)
    continued = _run(tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), continued.parameters(), strict=True))


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = _run(tmp_path / "x")
    again = _run(tmp_path / "x", die_at=0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_the_average_follows_with_its_decay() -> None:
    """Long after the start the decay is 0.9: from 0, one update towards 1 gives 0.9 * 0 + 0.1 * 1 = 0.1."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average(model, 0.9)
    nn.init.ones_(model.weight)
    average.update(model, step=10_000)
    torch.testing.assert_close(average.state["weight"], torch.tensor([[0.1]]))
