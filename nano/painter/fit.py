"""One resumable training loop for all of the painter's parts."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Part = TypeVar("Part", bound=nn.Module)
Metrics = dict[str, float]


class Average:
    """Exponential moving average of parameters and buffers; what is saved as the part's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def fit(
    name: str,
    model: Part,
    loss: Callable[[int], tuple[Tensor, Metrics]],
    *,
    steps: int,
    lr: float,
    folder: Path,
    decay: float = 0.999,
    weight_decay: float = 0.01,
    warmup: int = 200,
    every: int = 100,
) -> Part:
    """Trains `model` for `steps` and returns it with its averaged weights.

    Args:
        loss: the loss of step i; its data depend on i alone, so a resumed run sees what an uninterrupted one sees.
        folder: takes `<name>.pt` (replaced atomically, resumed from) and lines in `training.jsonl`.
        every: steps between log lines; four of them lie between checkpoints.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
    average, start, spent, path = Average(model, decay), 0, 0.0, folder / f"{name}.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state, start, spent = saved["average"], saved["step"], saved["seconds"]
        print(f"{name}: continues at step {start} of {steps}", flush=True)
    began = time.monotonic() - spent
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))
        value, metrics = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, step)
        done = step + 1
        if done % every == 0 or done == steps:
            _log(
                folder, {"part": name, "step": done, "of": steps, "seconds": round(time.monotonic() - began)} | metrics
            )
        if done % (4 * every) == 0 or done == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state}
            save(path, state | {"step": done, "seconds": time.monotonic() - began})
    model.load_state_dict(average.state)
    model.eval().requires_grad_(False)
    return model


def _log(folder: Path, line: dict[str, Any]) -> None:
    text = json.dumps({key: float(f"{v:.5g}") if isinstance(v, float) else v for key, v in line.items()})
    print(text, flush=True)
    with (folder / "training.jsonl").open("a") as log:
        log.write(text + "\n")


def save(path: Path, state: Any) -> None:
    """Saves all or nothing: a run killed meanwhile finds the former file."""
    draft = path.with_suffix(".tmp")
    torch.save(state, draft)
    draft.replace(path)
