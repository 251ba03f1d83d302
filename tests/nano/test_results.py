"""Evaluations read back as a table that says what the README says."""

import json
import os
from pathlib import Path

import pytest

from nano import results

VALUES = {
    "knn": {"random_init": (10.0, 50.0), "synclr": (30.0, 90.0)},
    "linear_probe": {"random_init": (20.0, 60.0), "synclr": (40.0, 95.0)},
}


def evaluated(root: Path, run: str = "synclr-nano", extra: float = 0.0) -> Path:
    """A root as `trainer.evaluate` leaves it."""
    folder = root / "evaluations" / run
    folder.mkdir(parents=True)
    for evaluator, encoders in VALUES.items():
        values = {
            encoder: {"shape_top1": shape + extra, "shape_colour_top1": both, "shape_rate": 0.1}
            for encoder, (shape, both) in encoders.items()
        }
        text = json.dumps({"tasks": ["shape", "shape_colour"], "values": values})
        (folder / f"{evaluator}.json").write_text(text)
    return folder


def test_the_table_has_a_row_per_evaluator_and_encoder_and_the_mean_of_the_tasks(tmp_path: Path) -> None:
    evaluated(tmp_path)
    found = results.read(tmp_path)
    assert found is not None
    assert results.table(found).splitlines() == [
        "| top-1, %                  | shape | shape+colour | mean |",
        "|---------------------------|------:|-------------:|-----:|",
        "| k-NN, random init         |  10.0 |         50.0 | 30.0 |",
        "| k-NN, SynCLR              |  30.0 |         90.0 | 60.0 |",
        "| linear probe, random init |  20.0 |         60.0 | 40.0 |",
        "| linear probe, SynCLR      |  40.0 |         95.0 | 67.5 |",
    ]


def test_several_seeds_are_shown_as_mean_and_range(tmp_path: Path) -> None:
    for seed, extra in enumerate((0.0, 3.0, 6.0)):
        evaluated(tmp_path / str(seed), extra=extra)
    found = [results.read(tmp_path / str(seed)) for seed in range(3)]
    line = results.table(*(one for one in found if one)).splitlines()[2]
    assert line.split("|")[2:5] == [" 13.0 (10.0–16.0) ", " 50.0 (50.0–50.0) ", " 31.5 (30.0–33.0) "]


def test_there_are_no_results_before_the_last_evaluator_is_through(tmp_path: Path) -> None:
    assert results.read(tmp_path) is None
    (evaluated(tmp_path) / "linear_probe.json").unlink()
    assert results.read(tmp_path) is None


def test_of_several_runs_the_one_evaluated_last_counts(tmp_path: Path) -> None:
    old, new = evaluated(tmp_path, "old"), evaluated(tmp_path, "new", extra=1.0)
    for file in old.iterdir():
        os.utime(file, (1, 1))
    found = results.read(tmp_path)
    assert found is not None
    assert "11.0" in results.table(found)
    assert new.exists()


def test_a_file_that_is_no_evaluation_is_named(tmp_path: Path) -> None:
    file = evaluated(tmp_path) / "knn.json"
    file.write_text("[]")
    with pytest.raises(ValueError, match=r"knn\.json is no evaluation"):
        results.read(tmp_path)


def test_the_command_names_roots_without_results(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no complete evaluation under"):
        results.main([str(tmp_path / "nothing")])
