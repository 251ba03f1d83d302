"""The training loop. `train` is the table of contents; what a step, a batch or a loss is, stands in their files."""

import io
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from config import Stopped
from config.progress import Progress as Bar
from shards import Storage
from tracking import Run, TrackingConfig, stage_run
from trainer import objectives
from trainer.agreeing import agreed, any_rank
from trainer.checkpoint import Checkpoints
from trainer.config import CheckpointConfig, PretrainConfig
from trainer.engine import device_of, ranks, use_threads
from trainer.metrics import Meter
from trainer.session import Build, Place, Session, begin, resume, roll_back, save
from trainer.stopping import StopRequest, Watchdog


def train(config: PretrainConfig, build: Build = objectives.build) -> None:
    """Pretrain until the last step, from the newest checkpoint of the run if there is one.

    `build` makes the objective. Raises Stopped after saving on SIGTERM, NotFiniteError when the loss stays broken,
    DataError and ConfigError for what is wrong with the data or the settings, RetryableError for the storage.
    """
    storage, steps = Storage(config.root), config.schedule.steps
    device = device_of(config.engine)
    use_threads(config.engine)
    with StopRequest() as stop, ranks(device, config.batch.wait) as gather:
        place = Place(config, storage, Checkpoints(storage, config.run), gather, device, build)
        newest = agreed(gather, place.newest)
        if newest == steps:
            place.say(f"{config.run} is finished ({steps} steps): {place.where(steps)}. Nothing to do")
            return
        with tracked(place) as run, Watchdog(config.engine.hang_seconds) as watchdog:
            session = begin(place, stop.check) if newest is None else resume(place, newest)
            describe(place, session, run)
            meter, saves = Meter(gather, device, images_per_step(config)), Saves(config.checkpoint)
            with progress(place, session) as bar:
                while (step := session.progress.step) < steps:
                    with meter.waiting():
                        batches = session.feed.take()
                    meter.add(session.step(batches))
                    watchdog.beat()
                    if session.broken:
                        watchdog.rest()
                        session = roll_back(place, session)
                    bar.add(session.progress.step - step)
                    step = session.progress.step
                    if step % config.metrics.every_steps == 0:
                        points = meter.points(session.tally.bad)
                        run.log_metrics(points, step)
                        bar.add(0, loss=points.get("loss/total", float("nan")))
                    stopping, due = any_rank(gather, device, stop.requested, saves.due(step))
                    # While steps are dropped the weights may be what is broken: not a place to go back to.
                    if stopping or (due and not session.broken_steps) or step == steps:
                        watchdog.rest()
                        with meter.saving():
                            save(place, session)
                        saves.done()
                        bar.tell(save_seconds=meter.saved)
                    if stopping and step < steps:
                        raise Stopped(f"stopped on request at step {step}; everything is saved")
            place.say(f"done: {place.where(steps)}")


class Saves:
    """When the next checkpoint is due."""

    def __init__(self, config: CheckpointConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self.done()

    def due(self, step: int) -> bool:
        steps, minutes = self._config.every_steps, self._config.every_minutes
        return bool(steps and step % steps == 0) or bool(minutes and self._clock() - self._last >= 60 * minutes)

    def done(self) -> None:
        """A checkpoint was written."""
        self._last = self._clock()


def describe(place: Place, session: Session, run: Run) -> None:
    """What is about to happen, in the log and in MLflow."""
    config, dataset = place.config, session.dataset
    summary = {"shards": len(dataset.shards), "samples": dataset.captions, "bytes": dataset.bytes}
    run.log_dataset("images", dataset.digest, place.storage.root, summary)
    begun = f"going on at step {session.progress.step}" if session.progress.step else "beginning"
    place.say(
        f"{config.run}: {dataset.captions} captions in {len(dataset.shards)} shards; {config.schedule.steps} steps of "
        f"{config.batch.captions} captions x {config.batch.images_per_caption} images on {place.gather.world} x "
        f"{place.device.type}; {begun}"
    )


def tracked(place: Place) -> AbstractContextManager[Run]:
    """The stage's MLflow run, on the first rank; elsewhere one that takes everything and does nothing."""
    config = place.config
    where = config.tracking if place.first else TrackingConfig(enabled=False)
    return stage_run(where, "pretrain", root=config.root, params=config, resume_key=config.run, ledger=place.storage)


def progress(place: Place, session: Session) -> Bar:
    """Only the first rank's is seen."""
    stream = None if place.first else io.StringIO()
    total, done = place.config.schedule.steps, session.progress.step
    return Bar("pretrain", unit="steps", total=total, initial=done, stream=stream)


def images_per_step(config: PretrainConfig) -> int:
    return config.batch.captions * config.batch.images_per_caption
