"""The objectives by name. An objective is one file here; the loop knows only `Objective`."""

from collections.abc import Callable, Mapping
from typing import Any

from config import ConfigError
from trainer.config import ModelConfig, ObjectiveConfig
from trainer.distributed import Gather
from trainer.objectives.protocol import Objective
from trainer.objectives.synclr import SynCLR

__all__ = ["OBJECTIVES", "Objective", "build"]

OBJECTIVES: Mapping[str, Callable[[Any, ModelConfig, Gather, int], Objective]] = {
    "synclr": SynCLR,
}
"""Name (`objective.kind`) to class: config section, model, other ranks, steps of the run."""


def build(config: ObjectiveConfig, model: ModelConfig, gather: Gather, steps: int) -> Objective:
    """The objective that the config names, with fresh weights drawn from torch's global generator.

    `steps` is the length of the run in optimiser steps, over which its schedules stretch. Raises ConfigError for a
    name that is not in the table.
    """
    if config.kind not in OBJECTIVES:
        raise ConfigError(f"objective.kind: no objective '{config.kind}'; known: {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[config.kind](config, model, gather, steps)
