"""How often pretraining saves: from how long a save takes and how often it fails.

    M = (P w + running seconds) / (w + failures)          the mean time between failures; P, w: what is believed before
    T = sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + C / 18M) - C  for C < 2 M, else M; C: the seconds of a save

(J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22, 2006, Eq. 37; its
first term is J. W. Young's, "A first order approximation to the optimum checkpoint interval", CACM 17, 1974.) T lies
between the end of a save and the begin of the next, which is how the trainer counts `every_minutes`, too.

What was seen reaches the next attempt only: a run that does not fail has no reason to save otherwise than it does.
"""

import math
from datetime import datetime
from typing import Final

from controller.resolve import Resolved
from controller.status import StageStatus
from trainer.config import CheckpointConfig

NODE_DAYS: Final = 154.0
"""Between two failures of one node: 6.5 in 1000 node-days ("Revisiting Reliability in Large-Scale Machine Learning
Research Clusters", Kokolis et al. 2024, the cluster RSC-1)."""
LONGEST_PRIOR: Final = 86_400.0
"""Seconds that a run of few nodes is believed to go on without a failure. A day, because there it is not the hardware
that fails first; with a save of 5 s it gives the 15 minutes that are the trainer's own default."""
WEIGHT: Final = 0.1
"""Failures that the belief is worth: it speaks while nothing else does, and the first failure outvotes it."""
SHORTEST: Final = 30.0
"""Seconds. A restart takes as long: to lose less than that is not worth a save."""
LONGEST: Final = 7200.0
"""Seconds. By then even a save of five minutes costs only 4 % of the time, and an estimate that was too hopeful costs
two hours at most."""


def between_failures(running_seconds: float, failures: int, nodes: int) -> float:
    """The mean time between failures of a gang, seconds."""
    prior = min(LONGEST_PRIOR, NODE_DAYS * 86_400 / nodes)
    return (prior * WEIGHT + running_seconds) / (WEIGHT + failures)


def daly(save: float, between: float) -> float:
    """Seconds from the end of a save to the begin of the next that lose the least time, for saves and for work that has
    to be done again together. `save`: seconds that one takes; `between`: mean seconds between failures."""
    if save >= 2 * between:
        return between
    part = save / (2 * between)
    return math.sqrt(2 * save * between) * (1 + math.sqrt(part) / 3 + part / 9) - save


def checkpoint_seconds(stage: StageStatus, nodes: int, config: CheckpointConfig) -> float | None:
    """What the next attempt is given. None: it goes by its config, as this is not asked for or no save was seen."""
    if stage.name != "pretrain" or not config.by_failures or not stage.save_seconds:
        return None
    between = between_failures(stage.running_seconds, stage.failed, nodes)
    return round(min(max(daly(stage.save_seconds, between), SHORTEST), LONGEST), 1)


def told(resolved: Resolved, stage: StageStatus) -> Resolved:
    """The configs with the interval of the newest attempt. A run may go on with another one, and trains the same."""
    if stage.checkpoint_seconds is None:
        return resolved
    changed = {"every_minutes": round(stage.checkpoint_seconds / 60, 3)}
    checkpoint = resolved.pretrain.checkpoint.model_copy(update=changed)
    return resolved.model_copy(update={"pretrain": resolved.pretrain.model_copy(update={"checkpoint": checkpoint})})


def timed(stage: StageStatus, now: datetime) -> StageStatus:
    """With the time for which its jobs ran, counted from one change to the next."""
    since = stage.running_since
    if (stage.state == "Running") == (since is not None):
        return stage
    if since is None:
        return stage.model_copy(update={"running_since": now})
    seconds = stage.running_seconds + max(0, int((now - since).total_seconds()))
    return stage.model_copy(update={"running_since": None, "running_seconds": seconds})
