"""What changes over a run, as pure functions of the step: `step` is the 0-based number of the step being done.

A step's values are those at its beginning, so the last step of a run does not quite reach the end values, and with a
warm-up step 0 has learning rate 0, as in the reference.
"""

import math

import torch
from torch import Tensor

from trainer.config import ScheduleConfig, SynCLRConfig


def linear(step: float, start: float, end: float, steps: int) -> float:
    """A straight line from `start` at step 0 to `end` at `steps`, then flat. With `steps` 0 it is `end` at once."""
    return end if step >= steps else start + (end - start) * step / steps


def cosine(step: float, start: float, end: float, steps: int) -> float:
    """Half a cosine from `start` at step 0 to `end` at `steps`, then flat."""
    return end if step >= steps else end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


def learning_rate(config: ScheduleConfig, step: int) -> float:
    """Linear from 0 to `lr` over the warm-up, then half a cosine to `lr_end` at the end of the run."""
    if step < config.warmup_steps:
        return linear(step, 0.0, config.lr, config.warmup_steps)
    return cosine(step - config.warmup_steps, config.lr, config.lr_end, config.steps - config.warmup_steps)


def weight_decay(config: ScheduleConfig, step: int) -> float:
    """Half a cosine from `weight_decay_start` to `weight_decay_end` over the run."""
    return cosine(step, config.weight_decay_start, config.weight_decay_end, config.steps)


def ema_momentum(config: SynCLRConfig, step: int, steps: int) -> float:
    """Momentum of the teacher after step `step` of `steps`: half a cosine from `ema_start` to `ema_end`."""
    return cosine(step, config.ema_start, config.ema_end, steps)


def teacher_temperature(config: SynCLRConfig, step: Tensor) -> Tensor:
    """Temperature of the iBOT targets at `step`, a 0-dimensional integer tensor: `linear`, without reading the number.

    The step is part of the checkpoint and so lives on the device; reading it would make every step wait for the GPU.
    """
    start, end = config.teacher_temperature_start, config.teacher_temperature_end
    if config.teacher_temperature_steps == 0:
        return torch.full((), end, device=step.device)
    return start + (end - start) * (step / config.teacher_temperature_steps).clamp(max=1.0)
