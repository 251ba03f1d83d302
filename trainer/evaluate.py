"""Evaluate a pretrained encoder on labelled images: k-NN and linear probe on its frozen features, and zero-shot where
it learnt from texts.

    python -m trainer.evaluate --recipe nano --root runs/nano

prints a table beside a random and a pixel baseline, and writes `<root>/evaluations/<run>/<evaluator>.json`. Started
again it prints what is there; killed in between it goes on with the evaluators that are missing.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Final

import torch
from torch import nn

from config import ConfigError, report
from config.cli import run
from config.progress import Progress
from shards import Storage
from tracking import Run, stage_run
from trainer.config import EvaluateConfig, PretrainConfig
from trainer.evaluation import EVALUATORS, checkpoints, labelled, results, table, zero_shot
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
    print(f"\n{subject.trained.run}, step {subject.trained.step}, on {len(subject.test)} held-out images", flush=True)
    report.conclude(os.environ, told(found))


def told(found: Mapping[str, Results]) -> list[report.Value]:
    """What a status shows: top-1 of each evaluator, encoder and task; the trained encoder's first."""
    tops: list[report.Value] = [
        {"name": f"{evaluator}/{one}", "metric": key, "value": round(value, 3)}
        for evaluator, values in found.items()
        for one, named in values.items()
        for key, value in named.items()
        if key.endswith("_top1") and math.isfinite(value)
    ]
    return sorted(tops, key=lambda top: str(top["name"]).endswith((RANDOM, RAW)))


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
        # So that MLflow can compare evaluations by what was trained, and how.
        tracked.log_params(subject.trained.config, prefix="pretrain.")
        for split in (subject.train, subject.test):
            name = f"labelled {split.split}"
            root = split.storage.root
            tracked.log_dataset(name, split.digest, root, split.summary(), context=CONTEXTS[split.split])
        found = {name: results.load(storage, subject, name) for name in evaluators(subject)}
        if None in found.values():
            train, test = features(subject, stop.check)
            if "zero_shot" in found:
                test = in_words(test, subject, stop.check)
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


def evaluators(subject: Subject) -> tuple[str, ...]:
    """What is measured.

    Raises:
        ConfigError: zero-shot is asked for, and the objective has no texts or the classes no names.
    """
    asked, objective, names = subject.config.evaluators, subject.trained.config.objective, subject.test.names
    if "zero_shot" in asked:
        zero_shot.require_text(subject.trained.run, objective)
    told = bool(names) or "zero_shot" not in (asked or EVALUATORS) or not zero_shot.reads_text(objective)
    if not told:
        where = subject.test.storage.url(subject.test.split)
        problem = f"zero_shot: the classes of {where} have no names (docs/objectives.md, Zero-shot)"
        if asked:
            raise ConfigError(f"{problem}. Add them, or leave zero_shot out of evaluators")
        print(f"evaluation  without {problem}", file=sys.stderr, flush=True)
    suits = zero_shot.reads_text(objective) and bool(names)
    return asked or tuple(name for name in EVALUATORS if name != "zero_shot" or suits)


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


def in_words(test: Mapping[str, Features], subject: Subject, check: Callable[[], None]) -> Mapping[str, Features]:
    """The test images' features, those of the trained encoder with their classes told in words."""
    trained = subject.trained
    name = trained.config.objective.kind
    read = zero_shot.read(trained.storage, trained.run, trained.step, trained.config.objective, check)
    words = read.words(test[name].vectors, subject.test.names, subject.config.zero_shot.templates)
    return {**test, name: replace(test[name], words=words)}


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
        for one in subject.compared(name):
            values[one] = {}
            for key, value in EVALUATORS[name](train[one], test[one], subject.test.classes, subject.config):
                check()
                values[one][key] = value
                counter.add(1)
    return values


def log(tracked: Run, evaluator: str, values: Results, step: int) -> None:
    """As metrics `evaluation/<evaluator>_<task>_top1`, percent, so that MLflow compares runs of all objectives, and as
    `<evaluator>_mean_top1` their mean; those of a baseline with its name in front."""
    for one, named in values.items():
        whose = f"{one}_" if one in (RANDOM, RAW) else ""
        mean = fmean(value for key, value in named.items() if key.endswith("_top1"))
        known = {"mean_top1": mean, **named}
        tracked.log_metrics({f"{whose}{evaluator}_{key}": value for key, value in known.items()}, step)


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
            "output": feature_of(trained.config),
            "mean": list(augment.mean),
            "std": list(augment.std),
            "run": trained.run,
            "step": trained.step,
        },
    )


def feature_of(config: PretrainConfig) -> str:
    """What the encoder's features are, in words."""
    if config.model.resnet:
        return "last map, pooled by attention; no projection"
    return f"{'mean of the patches' if config.objective.pools_patches else 'class token'} after the final norm"


if __name__ == "__main__":
    run(main, EvaluateConfig, EVALUATIONS)
