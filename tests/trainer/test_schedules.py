import pytest
import torch

from trainer.config import ScheduleConfig, SynCLRConfig
from trainer.schedules import cosine, ema_momentum, learning_rate, linear, teacher_temperature, weight_decay

PAPER = ScheduleConfig()
SYNCLR = SynCLRConfig()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),  # a linear rise from 0
        (40_000, 1e-3),  # half way up
        (80_000, 2e-3),  # the peak
        (290_000, 1e-3),  # half way down: (1 + cos(pi / 2)) / 2 = 1/2
        (500_000, 0.0),
    ],
)
def test_the_paper_s_learning_rate(step, expected):
    assert learning_rate(PAPER, step) == pytest.approx(expected, abs=1e-12)


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(PAPER.model_copy(update={"warmup_steps": 0}), 0) == 2e-3


def test_a_run_that_is_all_warm_up_ends_below_its_peak():
    config = PAPER.model_copy(update={"steps": 10, "warmup_steps": 10})
    assert learning_rate(config, 9) == pytest.approx(0.9 * 2e-3)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.04), (250_000, 0.12), (500_000, 0.2)])
def test_the_paper_s_weight_decay(step, expected):
    """Half way: 0.2 - (0.2 - 0.04) * (1 + cos(pi / 2)) / 2 = 0.12."""
    assert weight_decay(PAPER, step) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.994), (250, 0.997), (500, 1.0), (501, 1.0)])
def test_the_paper_s_momentum(step, expected):
    """Half way: 1 - (1 + cos(pi / 2)) / 2 * (1 - 0.994) = 0.997."""
    assert ema_momentum(SYNCLR, step, 500) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.04), (2000, 0.055), (4000, 0.07), (400_000, 0.07)])
def test_the_paper_s_teacher_temperature(step, expected):
    assert teacher_temperature(SYNCLR, torch.tensor(step)).item() == pytest.approx(expected)
    assert linear(step, 0.04, 0.07, 4000) == pytest.approx(expected)


def test_a_teacher_temperature_without_a_rise_is_at_its_end_at_once():
    config = SYNCLR.model_copy(update={"teacher_temperature_steps": 0})
    assert teacher_temperature(config, torch.tensor(0)).item() == pytest.approx(0.07)


def test_schedules_may_fall_and_may_stand_still():
    assert cosine(1, 3.0, 1.0, 4) == pytest.approx(1 + 2 * (1 + 2**-0.5) / 2)
    assert cosine(1, 2.0, 2.0, 4) == 2.0
    assert linear(1, 3.0, 1.0, 4) == 2.5
