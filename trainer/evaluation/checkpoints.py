"""Which weights are evaluated."""

import json
from dataclasses import dataclass

from torch import nn

from shards import Storage
from trainer.checkpoint import COMMITTED, CONFIG, ENCODER, Checkpoints, load_encoder
from trainer.config import PretrainConfig
from trainer.evaluation.waiting import NotYet

COMMAND = "python -m trainer.pretrain --recipe nano --root {root} --run {run}"


@dataclass(frozen=True)
class Trained:
    """One checkpoint of a pretraining run."""

    storage: Storage
    run: str
    step: int
    sha256: str
    """Of the encoder's weights."""
    config: PretrainConfig
    """What it was trained with: the architecture and the normalisation of its images come from here."""

    @property
    def final(self) -> bool:
        """Whether the run had ended there."""
        return self.step >= self.config.schedule.steps

    def load(self) -> nn.Module:
        """The encoder: normalised images [N, 3, H, W] to features [N, D]."""
        return load_encoder(self.storage, self.run, self.step)


def find(storage: Storage, run: str, step: int | None, *, final: bool) -> Trained:
    """The checkpoint of `step`, or the newest one.

    Args:
        final: whether, without `step`, only the last checkpoint of the finished run will do.

    Raises:
        NotYet: it is not there; names the checkpoints and runs that are.
    """
    checkpoints = Checkpoints(storage, run)
    steps = checkpoints.steps()
    command = f"Train it: {COMMAND.format(root=storage.root, run=run)} (or the recipe that the run was made for)"
    if not steps:
        runs = ", ".join(storage.list("checkpoints")) or "none"
        raise NotYet(f"{storage.url(checkpoints.folder)}: no checkpoint; runs that have a folder: {runs}. {command}")
    if step is not None and step not in steps:
        known = ", ".join(map(str, steps))
        raise NotYet(f"{storage.url(checkpoints.folder)}: no checkpoint of step {step}; there are {known}. {command}")
    found = _read(storage, run, steps[-1] if step is None else step)
    if step is None and final and not found.final:
        done = f"step {found.step} of {found.config.schedule.steps}"
        raise NotYet(f"{storage.url(checkpoints.folder)}: the run is at {done}. {command}")
    return found


def _read(storage: Storage, run: str, step: int) -> Trained:
    folder = f"checkpoints/{run}/step-{step:08}"
    try:
        listed = json.loads(storage.read(f"{folder}/{COMMITTED}"))
        config = PretrainConfig.model_validate_json(storage.read(f"{folder}/{CONFIG}"))
    except FileNotFoundError:  # the run goes on beside us, and keeps only its newest checkpoints
        raise NotYet(f"{storage.url(folder)} was deleted while it was read: give the same command again") from None
    return Trained(storage, run, step, listed[ENCODER]["sha256"], config)
