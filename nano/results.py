"""The evaluations under one root, or of several seeds together, as a table.

    python -m nano.results runs/nano runs/nano-seed-1 runs/nano-seed-2

It reads `<root>/evaluations/<run>/<evaluator>.json`, which `trainer.evaluate` writes. Of several roots it shows the
mean, and the lowest and highest in brackets.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

EVALUATORS: Final = {"knn": "k-NN", "linear_probe": "linear probe"}
ENCODERS: Final = {"random_init": "random init", "raw_pixels": "raw pixels", "synclr": "SynCLR"}

Results = Mapping[str, Mapping[str, Any]]
"""What each evaluator wrote, by its name."""


def read(root: Path) -> Results | None:
    """The evaluations of the run under `root` that was evaluated last; None unless all evaluators are through.

    Raises:
        ValueError: a file is no evaluation.
    """
    complete = [folder for folder in (root / "evaluations").glob("*") if all(file.exists() for file in _files(folder))]
    if not complete:
        return None
    newest = max(complete, key=lambda folder: max(file.stat().st_mtime for file in _files(folder)))
    return {file.stem: _evaluation(file) for file in _files(newest)}


def made(root: Path) -> str:
    """When the newest evaluation under `root` was written, for people."""
    newest = max(file.stat().st_mtime for file in (root / "evaluations").glob("*/*.json"))
    return datetime.fromtimestamp(newest).astimezone().strftime("%Y-%m-%d %H:%M")


def table(*found: Results) -> str:
    """Top-1 in percent as aligned Markdown: a row per evaluator and encoder, a column per task, and their mean."""
    first = next(iter(found[0].values()))
    tasks: list[str] = first["tasks"]
    rows = [["top-1, %", *(task.replace("_", "+") for task in tasks), "mean"]]
    for evaluator, title in EVALUATORS.items():
        for encoder in found[0][evaluator]["values"]:
            scores = [_scores(one[evaluator]["values"][encoder], tasks) for one in found]
            rows.append([f"{title}, {ENCODERS.get(encoder, encoder)}", *map(cell, zip(*scores, strict=True))])
    return "\n".join(aligned(rows))


def _files(folder: Path) -> list[Path]:
    return [folder / f"{evaluator}.json" for evaluator in EVALUATORS]


def _evaluation(file: Path) -> Mapping[str, Any]:
    found = json.loads(file.read_text())
    if not isinstance(found, dict) or not {"tasks", "values"} <= found.keys():
        raise ValueError(f"{file} is no evaluation; delete it and evaluate again")
    return found


def _scores(values: Mapping[str, float], tasks: Sequence[str]) -> list[float]:
    """Of each task, and their mean."""
    scores = [values[f"{task}_top1"] for task in tasks]
    return [*scores, sum(scores) / len(scores)]


def cell(scores: Sequence[float]) -> str:
    """Their mean; of several, the lowest and the highest too."""
    mean = sum(scores) / len(scores)
    return f"{mean:.1f}" if len(scores) == 1 else f"{mean:.1f} ({min(scores):.1f}–{max(scores):.1f})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown, its columns as wide as their widest cell; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [f"{line} |" for line in lines[:1]] + [f"{rule}|"] + [f"{line} |" for line in lines[1:]]


def main(roots: Sequence[str]) -> None:
    """Prints the table. Raises SystemExit if a root has no results."""
    if not roots:
        sys.exit("usage: python -m nano.results ROOT [ROOT ...]")
    found = {root: read(Path(root)) for root in roots}
    missing = [root for root, results in found.items() if results is None]
    if missing:
        sys.exit(f"no complete evaluation under {', '.join(missing)}: run python -m nano.quickstart --root ROOT")
    print(table(*(results for results in found.values() if results is not None)))


if __name__ == "__main__":
    main(sys.argv[1:])
