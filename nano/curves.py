"""How a run learnt, as a picture: its metrics from MLflow over the steps.

    python -m nano.curves synclr-nano-long --mlflow sqlite:///runs/mlflow.db --to curves.png

Any run of SynCLR will do, also one that is still training.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PANELS: Final[Mapping[str, tuple[str, ...]]] = {
    "contrastive loss, nats": ("loss/contrastive_global", "loss/contrastive_local"),
    "iBOT loss, nats": ("loss/ibot",),
    "length of the mean key": ("loss/key_similarity",),
    "learning rate": ("optimizer/learning_rate",),
}
"""Title of a panel -> the metrics in it."""

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Of each metric, its values by step."""


def read(uri: str, run: str) -> Curves:
    """The curves of the newest pretraining run of that name.

    Raises:
        LookupError: MLflow has no such run.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    name = f"pretrain {run}"
    found = client.search_runs(experiments, f"attributes.run_name = '{name}'", max_results=1)  # the newest comes first
    if not found:
        raise LookupError(f"no run {name} in {uri}")
    metrics = [metric for panel in PANELS.values() for metric in panel]
    points = {metric: client.get_metric_history(found[0].info.run_id, metric) for metric in metrics}
    # A step that was trained twice, before and after a kill, counts as it went the second time.
    return {
        metric: sorted({p.step: p.value for p in sorted(history, key=lambda p: p.timestamp)}.items())
        for metric, history in points.items()
    }


def draw(curves: Curves, title: str, file: Path) -> None:
    """Writes a panel for each of PANELS that has values; the format follows the file's name (png, svg). A term that was
    switched off, 0 at every step, is left out."""
    from matplotlib.figure import Figure

    drawn = {name: [m for m in metrics if any(value for _, value in curves[m])] for name, metrics in PANELS.items()}
    shown = {name: metrics for name, metrics in drawn.items() if metrics}
    figure = Figure(figsize=(3.4 * len(shown), 2.9), layout="constrained")
    for place, (name, metrics) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), place)
        for metric in metrics:
            axes.plot(*zip(*curves[metric], strict=True), label=metric.rpartition("_")[2] if len(metrics) > 1 else None)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.set_ylim(bottom=0 if name == "learning rate" else None)
        axes.grid(alpha=0.3)
        if len(metrics) > 1:
            axes.legend(fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the picture. Raises SystemExit if there is no such run."""
    parser = argparse.ArgumentParser("python -m nano.curves", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="name of the run, as in <root>/checkpoints/<run>")
    parser.add_argument("--mlflow", default="sqlite:///runs/mlflow.db", help="tracking URI (default: %(default)s)")
    parser.add_argument("--to", type=Path, default=Path("curves.png"), help="the picture (default: %(default)s)")
    given = parser.parse_args(argv)
    try:
        curves = read(given.mlflow, given.run)
    except LookupError as missing:
        sys.exit(f"{missing}: python -m nano.quickstart makes one")
    draw(curves, f"Pretraining of {given.run}", given.to)
    print(given.to)


if __name__ == "__main__":
    main()
