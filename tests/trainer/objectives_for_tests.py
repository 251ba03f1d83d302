"""Objectives that make the training loop's own behaviour visible."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer import objectives
from trainer.config import ModelConfig, ObjectiveConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import symmetric
from trainer.models.text import Temperature
from trainer.objectives import Objective
from trainer.objectives.protocol import Comparing, Embedded
from trainer.session import Build


class Killed(Exception):
    """The process is gone: nothing may catch this and tidy up."""


class Watched:
    """An objective, watched: `losses` collects every loss to the last digit, `labels` the captions; `spoil` may change
    or refuse a loss by its number, from 0."""

    def __init__(self, inner: Objective, losses: list[float], labels: list[list[int]], spoil: Callable[[int], float]):
        self.inner, self.losses, self.labels, self.spoil = inner, losses, labels, spoil
        self.batch_keys = inner.batch_keys

    def modules(self) -> nn.Module:
        return self.inner.modules()

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        factor = self.spoil(len(self.losses))
        loss, metrics = self.inner.loss(batch)
        self.losses.append(loss.item())
        self.labels.append(batch["labels"].tolist())
        return loss * factor, metrics

    def after_step(self, step: int) -> None:
        self.inner.after_step(step)

    def encoder(self) -> nn.Module:
        return self.inner.encoder()


class Log:
    """What a `Watched` objective saw over the whole run, and the function that builds it."""

    def __init__(self, spoil: Callable[[int], float] = lambda number: 1.0) -> None:
        self.losses: list[float] = []
        self.labels: list[list[int]] = []
        self.spoil = spoil

    def build(self, config: ObjectiveConfig, model: ModelConfig, gather: Gather, steps: int) -> Objective:
        return Watched(objectives.build(config, model, gather, steps), self.losses, self.labels, self.spoil)


def dies_at(number: int) -> Callable[[int], float]:
    """For `Log`: the process dies in the loss of that number."""

    def spoil(now: int) -> float:
        if now == number:
            raise Killed
        return 1.0

    return spoil


class Line:
    """A straight line through the mean of a picture, y = w x + b, pulled to the caption's number: convex, no
    randomness, and its mean over micro-batches is its mean over the batch."""

    batch_keys: tuple[str, ...] = ("global_crops", "labels")

    def __init__(self, *_: Any) -> None:
        self.networks = nn.ModuleDict({"line": nn.Linear(3, 1), "copy": nn.Linear(3, 1).requires_grad_(False)})
        self.networks.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def modules(self) -> nn.Module:
        return self.networks

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        mean = batch["global_crops"].mean((2, 3))
        wanted = batch["labels"].float().repeat(len(mean) // len(batch["labels"]))
        error = (self.networks["line"](mean)[:, 0] - wanted).square().mean()
        return error, {"loss/error": error.detach()}

    def after_step(self, step: int) -> None:
        self.networks.get_buffer("steps").fill_(step + 1)

    def encoder(self) -> nn.Module:
        return self.networks["line"]


class Pairs(Line):
    """Means of pictures and numbers of captions as pairs: a loss that compares all of a batch, with a temperature."""

    def __init__(self, *_: Any) -> None:
        super().__init__()
        towers = {"picture": nn.Linear(3, 4), "number": nn.Linear(1, 4), "temperature": Temperature(2.0, 100.0)}
        self.networks = nn.ModuleDict(towers)
        self.networks.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.compare(self.embed(batch))

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        label = batch["labels"]
        picture = self.networks["picture"](batch["global_crops"].mean((2, 3)))
        return {"picture": picture, "number": self.networks["number"](label[:, None].float()), "label": label}

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        label = embedded["label"]
        loss = symmetric(embedded["picture"], embedded["number"], label, label, self.networks["temperature"]())
        return loss, {"loss/pairs": loss.detach()}

    def shared(self) -> list[nn.Parameter]:
        return list(self.networks["temperature"].parameters())

    def encoder(self) -> nn.Module:
        return self.networks["picture"]


_BUILD: Build = Line
_COMPARING: type[Comparing] = Pairs
