"""The curves of a run: means over the steps since the last point, and over all ranks, named `<stage>/<metric>_<unit>`.

loss/total, loss/...             the objective's, of the steps that counted
loss/not_finite_steps            steps dropped since the last point
optimizer/gradient_norm          before clipping; beside it learning_rate and weight_decay
batch/images_per_second          images (not crops) of all ranks
batch/wait_percent               share of the time in which the step waited for its batch, on the slowest rank
batch/skipped_samples            bad samples replaced so far, all ranks
checkpoint/save_seconds          the last save
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from trainer.distributed import Gather
from trainer.engine import Stepped


class Meter:
    """Adds steps up until they are asked for. Losses stay on the device until then, so nothing waits for it."""

    _last: Stepped | None
    _sums: dict[str, Tensor]

    def __init__(
        self, gather: Gather, device: torch.device, images: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`images` of one step, over all ranks."""
        self._gather, self._device, self._images, self._clock = gather, device, images, clock
        self._saved = 0.0
        self._reset()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what the step waits for."""
        begin = self._clock()
        yield
        self._waited += self._clock() - begin

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around a save, whose time is not the steps'."""
        begin = self._clock()
        yield
        self._saved = self._clock() - begin
        self._begin += self._saved

    @property
    def saved(self) -> float:
        """Seconds that the last save took; 0 before the first."""
        return self._saved

    def add(self, done: Stepped) -> None:
        """One more step."""
        self._steps += 1
        self._last = done
        if not done.applied:
            return
        self._applied += 1
        self._norm += done.gradient_norm
        for name, value in {"loss/total": done.loss, **done.metrics}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value

    def points(self, skipped: int) -> dict[str, float]:
        """The means since the last call, the same on every rank. All ranks must call it, after at least one step."""
        assert self._last is not None
        seconds = self._clock() - self._begin
        waited = self._over_ranks([self._waited / seconds], self._gather.all_reduce_max)[0]
        samples = self._over_ranks([float(skipped)], self._gather.all_reduce_sum)[0]
        points = {
            **self._means(),
            "loss/not_finite_steps": float(self._steps - self._applied),
            "optimizer/learning_rate": self._last.learning_rate,
            "optimizer/weight_decay": self._last.weight_decay,
            "batch/images_per_second": self._images * self._steps / seconds,
            "batch/wait_percent": 100 * waited,
            "batch/skipped_samples": samples,
        }
        if self._saved:
            points["checkpoint/save_seconds"] = self._saved
        self._reset()
        return points

    def _means(self) -> Mapping[str, float]:
        """Steps that were dropped count nowhere: one NaN would hide the others."""
        if not self._applied:
            return {}
        values = torch.stack([value.float() for value in self._sums.values()]) / self._applied
        means = self._gather.all_reduce_sum(values) / self._gather.world
        named = dict(zip(self._sums, means.tolist(), strict=True))
        return {**named, "optimizer/gradient_norm": self._norm / self._applied}

    def _over_ranks(self, values: list[float], reduce: Callable[[Tensor], Tensor]) -> list[float]:
        reduced: list[float] = reduce(torch.tensor(values, device=self._device)).tolist()
        return reduced

    def _reset(self) -> None:
        self._sums = {}
        self._norm = self._waited = 0.0
        self._steps = self._applied = 0
        self._last = None
        self._begin = self._clock()
