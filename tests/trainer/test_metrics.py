"""The curves."""

import pytest
import torch

from trainer.distributed import Single
from trainer.engine import Stepped
from trainer.metrics import Meter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def stepped(loss: float, applied: bool = True) -> Stepped:
    part = {"loss/ibot": torch.tensor(2 * loss)}
    return Stepped(torch.tensor(loss), part, 10 * loss, learning_rate=0.1, weight_decay=0.2, applied=applied)


def meter(clock: Clock) -> Meter:
    return Meter(Single(), torch.device("cpu"), images=32, clock=clock)


def test_a_point_is_the_mean_since_the_last():
    clock = Clock()
    one = meter(clock)
    for loss in (1.0, 2.0, 6.0):
        with one.waiting():
            clock.now += 0.5
        clock.now += 1.5
        one.add(stepped(loss))
    points = one.points(skipped=4)
    assert points == pytest.approx(
        {
            "loss/total": 3.0,
            "loss/ibot": 6.0,
            "optimizer/gradient_norm": 30.0,
            "loss/not_finite_steps": 0.0,
            "optimizer/learning_rate": 0.1,
            "optimizer/weight_decay": 0.2,
            "batch/images_per_second": 16.0,  # 3 steps of 32 images in 6 s
            "batch/wait_percent": 25.0,
            "batch/skipped_samples": 4.0,
        }
    )
    clock.now += 1
    one.add(stepped(7.0))
    assert one.points(skipped=4)["loss/total"] == 7.0


def test_dropped_steps_are_counted_and_spoil_nothing():
    clock = Clock()
    one = meter(clock)
    one.add(stepped(1.0))
    one.add(stepped(float("nan"), applied=False))
    clock.now += 1
    points = one.points(0)
    assert (points["loss/total"], points["loss/not_finite_steps"]) == (1.0, 1.0)


def test_only_dropped_steps_give_no_loss():
    clock = Clock()
    one = meter(clock)
    one.add(stepped(float("nan"), applied=False))
    clock.now += 1
    assert "loss/total" not in one.points(0)


def test_saving_is_not_training():
    clock = Clock()
    one = meter(clock)
    one.add(stepped(1.0))
    clock.now += 1
    with one.saving():
        clock.now += 9
    points = one.points(0)
    assert points["batch/images_per_second"] == 32.0
    assert points["checkpoint/save_seconds"] == 9.0
