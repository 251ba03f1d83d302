"""Evaluate a pretrained encoder on labelled images: k-NN and linear probe on its frozen features.

    python -m trainer.evaluate --recipe nano --root runs/nano

prints a table beside a random and a pixel baseline, and writes `<root>/evaluations/<run>/<evaluator>.json`. Started
again it prints what is there; killed in between it goes on with the evaluators that are missing.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import nn

from config import ConfigError
from config.cli import run
from config.progress import Progress
from shards import Storage
from tracking import Run, stage_run
from trainer.config import EvaluateConfig
from trainer.evaluation import EVALUATORS, checkpoints, labelled, results, table
from trainer.evaluation.features import Features, FromPixels, RawPixels, extract, random_encoder
from trainer.evaluation.results import Results, Subject
from trainer.evaluation.waiting import until
from trainer.recipes import EVALUATIONS
from trainer.stopping import StopRequest

RANDOM: Final = "random_init"
RAW: Final = "raw_pixels"
CONTEXTS: Final = {"train": "training", "test": "testing"}  # of the splits, in MLflow's words


def main(config: EvaluateConfig) -> None:
    """Evaluates and prints the table.

    Raises:
        ConfigError: no root, an unknown task, settings that the data does not allow.
        DataError: labelled shards or the checkpoint are missing or damaged; says which command makes them.
        RetryableError: they did not come within `wait` seconds.
        Stopped: on SIGTERM.
    """
    if not config.root:
        raise ConfigError("root: say where the run lives: --root FOLDER (or s3://..., gs://..., az://...)")
    subject, found = evaluate(config)
    print(table.render(found, list(subject.test.classes), config))
    print(f"\n{subject.trained.run}, step {subject.trained.step}, on {len(subject.test)} held-out images")


def evaluate(config: EvaluateConfig) -> tuple[Subject, dict[str, Results]]:
    """What was evaluated, and the values by evaluator, encoder and name."""
    storage = Storage(config.root)
    with (
        StopRequest() as stop,
        stage_run(
            config.tracking, "evaluation", root=config.root, params=config, resume_key=config.run, ledger=storage
        ) as tracked,
    ):
        subject = find(storage, config, stop.check)
        for split in (subject.train, subject.test):
            name = f"labelled {split.split}"
            root = split.storage.root
            tracked.log_dataset(name, split.digest, root, split.summary(), context=CONTEXTS[split.split])
        found = {name: results.load(storage, subject, name) for name in EVALUATORS}
        if None in found.values():
            train, test = features(subject, stop.check)
        values: dict[str, Results] = {}
        for name, known in found.items():
            if known is None:
                values[name] = measure(name, train, test, subject, stop.check)
                results.save(storage, subject, name, values[name])
            else:
                values[name] = known
            log(tracked, name, values[name], subject.trained.step)
        if config.log_model:
            log_model(tracked, subject)
    return subject, values


def find(storage: Storage, config: EvaluateConfig, check: Callable[[], None]) -> Subject:
    """The checkpoint and the labelled images; waits for them as long as the config says."""
    data = Storage(config.data or f"{config.root.rstrip('/')}/labelled")

    def sleep(seconds: float) -> None:
        check()
        time.sleep(seconds)

    train, test = (
        until(lambda split=split: labelled.find(data, split, config.tasks), config.wait, sleep=sleep)  # type: ignore[misc]
        for split in labelled.SPLITS
    )
    final = config.wait > 0
    trained = until(lambda: checkpoints.find(storage, config.run, config.step, final=final), config.wait, sleep=sleep)
    kind = trained.config.objective.kind
    encoders = (RANDOM, RAW, kind) if config.baselines else (kind,)
    return Subject(trained, train, test, encoders, config)


def features(subject: Subject, check: Callable[[], None]) -> tuple[Mapping[str, Features], Mapping[str, Features]]:
    """Frozen features of both splits, by encoder."""
    config = subject.config
    encoders = {name: encoder(name, subject) for name in subject.encoders}
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    side = subject.trained.config.model.image_size
    with Progress("features", unit="images", total=len(subject.train) + len(subject.test)) as counter:

        def done(count: int) -> None:
            check()
            counter.add(count)

        train, test = (
            extract(encoders, split.batches(side, config.batch), device, done)
            for split in (subject.train, subject.test)
        )
    return train, test


def encoder(name: str, subject: Subject) -> nn.Module:
    """One of the encoders that are compared; takes images in 0..1."""
    model, augment = subject.trained.config.model, subject.trained.config.batch.augment
    if name == RANDOM:
        bare = random_encoder(model, subject.config.baseline_seed)
    else:
        bare = RawPixels() if name == RAW else subject.trained.load()
    return FromPixels(bare, augment.mean, augment.std)


def measure(
    name: str,
    train: Mapping[str, Features],
    test: Mapping[str, Features],
    subject: Subject,
    check: Callable[[], None],
) -> Results:
    """One evaluator on every encoder."""
    values: Results = {}
    with Progress(f"evaluation {name}", unit="values") as counter:
        for one in subject.encoders:
            values[one] = {}
            for key, value in EVALUATORS[name](train[one], test[one], subject.test.classes, subject.config):
                check()
                values[one][key] = value
                counter.add(1)
    return values


def log(tracked: Run, evaluator: str, values: Results, step: int) -> None:
    """As metrics `evaluation/<encoder>_<evaluator>_<task>_top1`, percent."""
    for one, named in values.items():
        tracked.log_metrics({f"{one}_{evaluator}_{key}": value for key, value in named.items()}, step)


def log_model(tracked: Run, subject: Subject) -> None:
    """Stores the encoder, normalisation included, with two test images as its example."""
    trained = subject.trained
    side = trained.config.model.image_size
    image_B3HW, _ = next(subject.test.batches(side, 2))
    augment = trained.config.batch.augment
    tracked.log_encoder(
        encoder(trained.config.objective.kind, subject),
        (image_B3HW.float() / 255).numpy(),
        version=f"{trained.run} {trained.step} {trained.sha256}",
        step=trained.step,
        metadata={
            "input": f"RGB images [N, 3, {side}, {side}], float32 in 0..1; normalised inside",
            "output": "class token after the final norm",
            "mean": list(augment.mean),
            "std": list(augment.std),
            "run": trained.run,
            "step": trained.step,
        },
    )


if __name__ == "__main__":
    run(main, EvaluateConfig, EVALUATIONS)
