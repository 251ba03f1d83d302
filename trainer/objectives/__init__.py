"""The objectives by name. An objective is one file here; the loop knows only `Objective`."""

from collections.abc import Callable, Mapping
from typing import Any

from config import ConfigError
from trainer.config import ModelConfig, ObjectiveConfig
from trainer.distributed import Gather
from trainer.objectives.clip import CLIP
from trainer.objectives.declip import DeCLIP
from trainer.objectives.protocol import Objective
from trainer.objectives.siglip import SigLIP
from trainer.objectives.simclr import SimCLR
from trainer.objectives.stablerep import StableRep
from trainer.objectives.superclass import SuperClass
from trainer.objectives.supervised import Supervised
from trainer.objectives.synclr import SynCLR

__all__ = ["OBJECTIVES", "Objective", "build"]

OBJECTIVES: Mapping[str, Callable[[Any, ModelConfig, Gather, int], Objective]] = {
    "synclr": SynCLR,
    "stablerep": StableRep,
    "simclr": SimCLR,
    "supervised": Supervised,
    "clip": CLIP,
    "siglip": SigLIP,
    "declip": DeCLIP,
    "superclass": SuperClass,
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
