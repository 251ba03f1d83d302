"""Every objective, trained by its small recipe on one generated set and judged by one suite.

    python -m nano.quickstart                                       # makes the set: runs/nano
    python -m benchmarks.objectives runs/nano --seeds 0 1 2         # 24 trainings: hours
    python -m benchmarks.objectives runs/nano --report
    python -m benchmarks.objectives runs/nano --seeds 0 --steps 900 --objectives SynCLR StableRep SimCLR supervised

Stopped and started at will: what is evaluated already is not done again. Images, captions and evaluation are the same
for all; seeds are those of the training: first weights, batches, crops. It prints Markdown, and the address of MLflow's
page that compares the evaluations; with `--report`, of what was measured before.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Final
from urllib.parse import quote

from nano.results import EVALUATORS, aligned, cell
from tracking.params import redact

COMPARED: Final = {
    "SynCLR": "nano_compared",
    "StableRep": "stablerep_nano",
    "SimCLR": "simclr_nano",
    "supervised": "supervised_nano",
    "CLIP": "clip_nano",
    "SigLIP": "siglip_nano",
    "DeCLIP": "declip_nano",
    "SuperClass": "superclass_nano",
}
"""Recipe of each objective."""
TOLD: Final = {**EVALUATORS, "zero_shot": "zero-shot"}
EXPERIMENT: Final = "objectives"
MLFLOW: Final = "sqlite:///runs/mlflow.db"


@dataclass(frozen=True)
class Cost:
    """What one training took; lines of `<root>/objectives.jsonl`."""

    recipe: str
    seed: int
    cpu: float
    """Seconds of the processor: the machine's other work does not count."""
    steps: int = 0
    """0: the recipe's."""


def run_name(recipe: str, seed: int, steps: int = 0) -> str:
    """Of a training, under `<root>/checkpoints`."""
    return f"{recipe}-seed-{seed}" + (f"-steps-{steps}" if steps else "")


def measure(root: Path, titles: Sequence[str], seeds: Sequence[int], steps: int, mlflow: str) -> None:
    """Trains and evaluates what has not been."""
    for seed in seeds:
        for title in titles:
            recipe = COMPARED[title]
            name = run_name(recipe, seed, steps)
            known = {(one.recipe, one.seed, one.steps) for one in costs(root)}
            common = ["--recipe", recipe, "--root", str(root), "--run", name, "--tracking.experiment", EXPERIMENT]
            common += ["--tracking.uri", mlflow]
            print(f"{title}, seed {seed}", file=sys.stderr, flush=True)
            if (recipe, seed, steps) not in known:
                # Its cost is that of the whole: what another process began is not gone on with.
                shutil.rmtree(root / "checkpoints" / name, ignore_errors=True)
                # One thread: several would spend time waiting for one another where the machine is shared.
                length = ["--schedule.steps", str(steps)] if steps else []
                cpu = _run("trainer.pretrain", *common, *length, "--seed", str(seed), "--engine.threads", "1")
                with (root / "objectives.jsonl").open("a") as file:
                    print(json.dumps(asdict(Cost(recipe, seed, cpu, steps))), file=file)
            baselines = "true" if title == "SynCLR" else "false"  # they depend on nothing that was trained
            _run("trainer.evaluate", *common, "--log_model", "false", "--baselines", baselines)


def _run(module: str, *arguments: str) -> float:
    """Seconds of the processor that a stage took, its own and its processes'."""
    before, env = _children(), {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, env=env)  # noqa: S603  # ours
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def costs(root: Path) -> list[Cost]:
    """Of the trainings so far."""
    file = root / "objectives.jsonl"
    return [Cost(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def evaluations(root: Path, recipe: str, seed: int, steps: int = 0) -> dict[str, dict[str, Any]]:
    """What each evaluator wrote, by its name."""
    folder = root / "evaluations" / run_name(recipe, seed, steps)
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def report(root: Path, titles: Sequence[str], seeds: Sequence[int], steps: int = 0) -> Iterator[str]:
    """Two tables: means over the tasks with what they cost, and each task by itself."""
    found = {title: [evaluations(root, COMPARED[title], seed, steps) for seed in seeds] for title in titles}
    missing = [title for title, one in found.items() if not all(one)]
    if missing:
        sys.exit(f"not evaluated under {root} for all of the seeds {list(seeds)}: {', '.join(missing)}")
    tasks: list[str] = found[titles[0]][0]["knn"]["tasks"]
    summary = [["top-1, %, mean of the tasks", *TOLD.values(), "processor seconds"]]
    single = [["top-1, %", *(task.replace("_", "+") for task in tasks)]]
    for baseline in ("random_init", "raw_pixels") if "SynCLR" in found else ():
        rows = [_scores(found["SynCLR"][0][kind], baseline, tasks) for kind in ("knn", "linear_probe")]
        summary.append([baseline.replace("_", " "), *(cell([mean(row)]) for row in rows), "", ""])
    for title in titles:
        row = [title]
        for kind, told in TOLD.items():
            scores = [_scores(one[kind], "", tasks) for one in found[title] if kind in one]
            row.append(cell([mean(one) for one in scores]) if scores else "")
            if scores:
                single.append([f"{title}, {told}", *map(cell, zip(*scores, strict=True))])
        seconds = [
            one.cpu for one in costs(root) if (one.recipe, one.steps) == (COMPARED[title], steps) and one.seed in seeds
        ]
        summary.append([*row, f"{mean(seconds):.0f}"])
    yield from aligned(summary)
    yield ""
    yield from aligned(single)


def _scores(evaluation: dict[str, Any], encoder: str, tasks: Sequence[str]) -> list[float]:
    """Of each task; without a name, the trained encoder's, which comes last."""
    values = evaluation["values"][encoder or evaluation["encoders"][-1]]
    return [values[f"{task}_top1"] for task in tasks]


def comparison(uri: str, runs: Sequence[str], server: str = "http://127.0.0.1:5000") -> str:
    """The address of MLflow's page that compares the evaluations, under `mlflow ui --backend-store-uri URI`."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        sys.exit(f"{redact(uri)} has no experiment {EXPERIMENT}: measure first, or name another with --mlflow")
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.run_name ASC"])
    ids = [one.info.run_id for one in found if str(one.info.run_name).removeprefix("evaluation ") in runs]
    query = f"runs={quote(json.dumps(ids))}&experiments={quote(json.dumps([experiment.experiment_id]))}"
    return f"{server}/#/compare-runs?{query}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="captions, images and labelled renders: what the quick start leaves")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=0, help="of each training (default: the recipe's)")
    parser.add_argument("--objectives", nargs="+", default=list(COMPARED), choices=COMPARED, metavar="NAME")
    parser.add_argument("--mlflow", default=MLFLOW, help="tracking URI (default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="print what was measured, and measure nothing")
    given = parser.parse_args()
    if not given.report:
        measure(given.root, given.objectives, given.seeds, given.steps, given.mlflow)
    print("\n".join(report(given.root, given.objectives, given.seeds, given.steps)))
    print(f"\nTo compare in MLflow: mlflow ui --backend-store-uri {redact(given.mlflow)}, then")
    names = [run_name(COMPARED[title], seed, given.steps) for title in given.objectives for seed in given.seeds]
    print(comparison(given.mlflow, names))


if __name__ == "__main__":
    main()
