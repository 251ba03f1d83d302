"""A run in memory: begun, resumed from a checkpoint, or taken back to one."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from config import NotFiniteError
from shards import Storage
from trainer import vocabulary
from trainer.agreeing import agreed
from trainer.batch import Batch, Maker, augmented, counted, part_of, raised, raw
from trainer.checkpoint import ENCODER, MODEL, OPTIMIZER, Checkpoint, Checkpoints, Progress, check_config
from trainer.config import ModelConfig, ObjectiveConfig, PretrainConfig
from trainer.dataset import Dataset, find_dataset, verify_dataset
from trainer.distributed import Gather
from trainer.engine import Engine, Stepped
from trainer.objectives import Objective
from trainer.order import Order
from trainer.reading import Reader
from trainer.skipping import Tally

log = logging.getLogger(__name__)

Build = Callable[[ObjectiveConfig, ModelConfig, Gather, int], Objective]
"""Makes an objective: its config, the model's, the ranks, the steps of the run."""


@dataclass(frozen=True)
class Place:
    """Where a run runs: what does not change while it does."""

    config: PretrainConfig
    storage: Storage
    checkpoints: Checkpoints
    gather: Gather
    device: torch.device
    build: Build

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.gather.rank == 0

    def newest(self) -> int | None:
        """Step of the newest checkpoint, after sweeping up halves."""
        self.checkpoints.sweep()
        return max(self.checkpoints.steps(), default=None)

    def where(self, step: int) -> str:
        """URL of a checkpoint."""
        return self.storage.url(self.checkpoints.path(step))

    def say(self, text: str) -> None:
        """One line for people, from one rank."""
        if self.first:
            print(f"pretrain  {text}", file=sys.stderr, flush=True)

    @property
    def reading(self) -> PretrainConfig:
        """The config, with the file of a vocabulary that the run learnt."""
        objective = vocabulary.located(self.storage, self.config.run, self.config.objective)
        return self.config.model_copy(update={"objective": objective})

    def prepare(self, dataset: Dataset, *, anew: bool) -> None:
        """What the objective needs of the captions, before it is made."""
        run, objective = self.config.run, self.config.objective
        agreed(self.gather, lambda: vocabulary.prepare(self.storage, run, objective, dataset, anew=anew))

    def objective(self) -> Objective:
        """With the weights that the seed gives, on every rank the same."""
        torch.manual_seed(self.config.seed)
        return self.build(self.reading.objective, self.config.model, self.gather, self.config.schedule.steps)


class Feed:
    """Micro-batches, a step's worth at a time."""

    def __init__(self, micro_batches: Iterator[Batch], accumulate: int) -> None:
        self._micro_batches, self._accumulate = micro_batches, accumulate
        self._held: list[Batch] = []

    def peek(self) -> list[Batch]:
        """The next step's, without taking them."""
        self._held = self._held or [next(self._micro_batches) for _ in range(self._accumulate)]
        return self._held

    def take(self) -> list[Batch]:
        """The next step's."""
        batches, self._held = self.peek(), []
        return batches


@dataclass
class Session:
    """What changes while a run runs."""

    config: PretrainConfig
    engine: Engine
    dataset: Dataset
    feed: Feed
    tally: Tally
    progress: Progress
    broken_steps: int = 0
    """Steps in a row that were dropped."""

    def step(self, batches: list[Batch]) -> Stepped:
        """One step on these batches."""
        now = self.progress
        done = self.engine.step(now.step, batches, now.batches * self.config.engine.accumulate)
        updates = now.updates + int(done.applied)
        self.progress = replace(now, step=now.step + 1, batches=now.batches + 1, updates=updates)
        self.broken_steps = 0 if done.applied else self.broken_steps + 1
        if not done.applied:
            log.warning("step %d: the loss or its gradient is not finite; the step was dropped", now.step)
        return done

    @property
    def broken(self) -> bool:
        """Whether too many steps in a row were dropped."""
        return self.broken_steps >= self.config.engine.not_finite_steps


def begin(place: Place, check: Callable[[], None]) -> Session:
    """A new run: its list of shards is fixed here. `check` may raise to end the wait for them."""
    dataset = agreed(place.gather, lambda: find_dataset(place.storage, place.config.batch, check))
    place.prepare(dataset, anew=True)
    return _session(place, dataset, place.objective(), Progress(step=0, batches=0, updates=0))


def resume(place: Place, newest: int) -> Session:
    """The run as it was at its newest checkpoint.

    Raises ConfigError if the config is another one, DataError if the shards or the checkpoint are not what they were.
    """
    checkpoint = place.checkpoints.load(newest)
    check_config(checkpoint.config, place.config)
    agreed(place.gather, lambda: verify_dataset(place.storage, checkpoint.dataset))
    place.prepare(checkpoint.dataset, anew=False)
    session = _session(place, checkpoint.dataset, _with_weights(place, checkpoint), checkpoint.progress)
    _restore(session, checkpoint)
    return session


def roll_back(place: Place, session: Session) -> Session:
    """The weights of the last checkpoint, and from there on the batches that follow now: those between led here.

    Raises NotFiniteError if there is no checkpoint, or the run went back too often.
    """
    newest, now = agreed(place.gather, place.newest), session.progress
    what = f"the loss was not finite for {session.broken_steps} steps in a row, until step {now.step - 1}"
    if newest is None:
        raise NotFiniteError(f"{what}, and there is no checkpoint to go back to. Lower schedule.lr")
    if now.rollbacks >= place.config.engine.rollbacks:
        raise NotFiniteError(f"{what}; the run went back {now.rollbacks} times already. Lower schedule.lr")
    place.say(f"{what}: going back to {place.where(newest)}, and on with other batches")
    session.engine.close()
    checkpoint = place.checkpoints.load(newest)
    session.engine = Engine(_with_weights(place, checkpoint), place.config, place.gather, place.device)
    session.progress = replace(checkpoint.progress, batches=now.batches, rollbacks=now.rollbacks + 1)
    session.broken_steps = 0
    _restore(session, checkpoint)
    return session


def save(place: Place, session: Session) -> None:
    """A checkpoint of now, unless there is one. All ranks."""
    engine, step = session.engine, session.progress.step
    tensors = {MODEL: engine.weights(), OPTIMIZER: engine.moments(), ENCODER: engine.encoder()}

    def write() -> None:
        if step not in place.checkpoints.steps():
            keep = place.config.checkpoint.keep
            place.checkpoints.save(place.config, session.progress, session.dataset, tensors, keep)

    agreed(place.gather, write)


def _session(place: Place, dataset: Dataset, objective: Objective, progress: Progress) -> Session:
    config, gather, device = place.config, place.gather, place.device
    part = part_of(config, gather.world, gather.rank)
    engine = Engine(objective, config, gather, device)
    tally = Tally(config.batch.bad_ceiling, dataset.captions)
    order = Order([shard.samples for shard in dataset.shards], config.seed, config.batch.window)
    maker = Maker(place.reading, Reader(place.storage, dataset, order, config.batch), part)
    raws = raw(maker, progress.batches * config.engine.accumulate, pin=device.type == "cuda")
    micro_batches = augmented(counted(raised(raws), tally), config, objective.batch_keys, device)
    return Session(config, engine, dataset, Feed(micro_batches, config.engine.accumulate), tally, progress)


def _with_weights(place: Place, checkpoint: Checkpoint) -> Objective:
    objective = place.objective()
    objective.modules().load_state_dict(dict(checkpoint.model))
    return objective


def _restore(session: Session, checkpoint: Checkpoint) -> None:
    session.engine.restore(checkpoint.optimizer, checkpoint.progress.updates, session.feed.peek())
