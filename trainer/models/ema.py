"""The teacher: an exponential moving average of the student's weights."""

from typing import Any

import torch
from torch import nn

from config import ConfigError


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher = momentum * teacher + (1 - momentum) * student, for every parameter of the teacher, by name.

    The student may have more. Buffers are copied: an average of counters means nothing.

    Raises ConfigError if the teacher is in half precision: with a momentum near 1 the update is smaller than half a
    unit in the last place of bf16, and the teacher would stand still.
    """
    parameters = dict(student.named_parameters())
    for name, parameter in teacher.named_parameters():
        if torch.finfo(parameter.dtype).bits < 32:
            raise ConfigError(
                f"the teacher's {name} is {parameter.dtype}: its moving average needs fp32 parameters; "
                "run matrix products in bf16 by autocast (engine.precision) and do not cast the model"
            )
        _average(parameter, parameters[name], momentum)
    buffers = dict(student.named_buffers())
    for name, buffer in teacher.named_buffers():
        buffer.copy_(buffers[name])


def _average(old: Any, new: Any, momentum: float) -> None:
    """Under ZeRO-3 a parameter is a shard on each rank (`ds_tensor`, which DeepSpeed adds), cut alike for teacher and
    student, so each rank averages its own and sends nothing. Where the whole is in memory too, as small parameters
    are, it must not go stale."""
    if not hasattr(old, "ds_tensor"):
        old.lerp_(new.to(old.dtype), 1.0 - momentum)
        return
    old.ds_tensor.lerp_(new.ds_tensor.to(old.dtype), 1.0 - momentum)
    old_whole, new_whole = (parameter.data.numel() == parameter.ds_numel for parameter in (old, new))
    if old_whole and new_whole:
        old.data.lerp_(new.data.to(old.dtype), 1.0 - momentum)
    elif old_whole:
        old.partition()  # give the whole up; it is gathered again when it is used
