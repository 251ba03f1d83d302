"""The evaluators by name, and their results as a table for people."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from trainer.config import EvaluateConfig
from trainer.evaluation import knn, linear_probe, zero_shot
from trainer.evaluation.features import Features

Evaluator = Callable[[Features, Features, Mapping[str, int], EvaluateConfig], Iterator[tuple[str, float]]]
Values = Mapping[str, float]
"""What an evaluator yielded for one encoder, by name."""

EVALUATORS: Final[Mapping[str, Evaluator]] = {
    "knn": knn.evaluate,
    "linear_probe": linear_probe.evaluate,
    "zero_shot": zero_shot.evaluate,
}
"""Name to evaluator; the name is that of its config section, its file, its result and its metrics. Each takes the
features of the train and the test images and the number of classes per task."""

TITLES: Final[Mapping[str, str]] = {
    "knn": "k-NN (k = {config.knn.neighbours[0]}), top-1 %",
    "linear_probe": "linear probe, top-1 % after the last epoch (after the best one)",
    "zero_shot": "zero-shot, top-1 %",
}
ENCODERS: Final[Mapping[str, str]] = {
    "random_init": "random init",
    "raw_pixels": "raw pixels",
    "synclr": "SynCLR",
    "stablerep": "StableRep",
    "simclr": "SimCLR",
    "clip": "CLIP",
    "siglip": "SigLIP",
    "declip": "DeCLIP",
    "superclass": "SuperClass",
}
"""How encoders are called in the table; an unlisted one keeps its name."""


def render(results: Mapping[str, Mapping[str, Values]], tasks: Sequence[str], config: EvaluateConfig) -> str:
    """A block of lines per evaluator: a row per encoder, a column per task, and their mean."""
    return "\n\n".join(
        _block(TITLES.get(name, name).format(config=config), encoders, tasks) for name, encoders in results.items()
    )


def _block(title: str, encoders: Mapping[str, Values], tasks: Sequence[str]) -> str:
    rows = [["", *(task.replace("_", "+") for task in tasks), "mean"]]
    rows += [[ENCODERS.get(name, name), *_cells(values, tasks)] for name, values in encoders.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _cells(values: Values, tasks: Sequence[str]) -> list[str]:
    last = [values[f"{task}_top1"] for task in tasks]
    best = [values.get(f"{task}_top1_best") for task in tasks]
    known = [value for value in best if value is not None]
    last.append(sum(last) / len(last))
    best.append(sum(known) / len(known) if len(known) == len(tasks) else None)
    return [f"{a:.1f}" if b is None else f"{a:.1f} ({b:.1f})" for a, b in zip(last, best, strict=True)]
