"""The comparison of objectives: what stands in its tables."""

import json
from pathlib import Path

import pytest

from benchmarks.objectives import COMPARED, report, run_name


def evaluated(root: Path, recipe: str, seed: int, steps: int = 0, /, **scores: tuple[float, float]) -> None:
    """Files as `trainer.evaluate` writes them: by evaluator, of shape and colour; baselines only beside SynCLR."""
    for evaluator, (shape, colour) in scores.items():
        encoders = ["random_init", "raw_pixels"] if recipe == COMPARED["SynCLR"] else []
        values = {one: {"shape_top1": 10.0, "colour_top1": 20.0} for one in encoders}
        values["trained"] = {"shape_top1": shape, "colour_top1": colour}
        file = root / "evaluations" / run_name(recipe, seed, steps) / f"{evaluator}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"tasks": ["shape", "colour"], "encoders": list(values), "values": values}))
    with (root / "objectives.jsonl").open("a") as costs:
        print(json.dumps({"recipe": recipe, "seed": seed, "cpu": 100.0 + seed + steps, "steps": steps}), file=costs)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_means_over_tasks_and_seeds_with_the_lowest_and_highest_seed(tmp_path: Path) -> None:
    """CLIP's shape is 40 and 50, its colour 60 and 80: k-NN (50 + 65) / 2 = 57.5, from 50 to 65."""
    for recipe in COMPARED.values():
        for seed in (0, 1):
            texts = {"zero_shot": (30.0, 50.0)} if recipe == "clip_nano" else {}
            both = (40.0 + 10 * seed, 60.0 + 20 * seed)
            evaluated(tmp_path, recipe, seed, knn=both, linear_probe=(1.0, 3.0), **texts)
    summary = {cells(line)[0]: cells(line)[1:] for line in report(tmp_path, list(COMPARED), [0, 1])}
    assert summary["random init"] == ["15.0", "15.0", "", ""]
    assert summary["CLIP"] == ["57.5 (50.0–65.0)", "2.0 (2.0–2.0)", "40.0 (40.0–40.0)", "100"]
    assert summary["SimCLR"][2] == ""
    assert summary["CLIP, k-NN"] == ["45.0 (40.0–50.0)", "70.0 (60.0–80.0)"]


def test_what_is_not_evaluated_yet_is_named(tmp_path: Path) -> None:
    evaluated(tmp_path, COMPARED["SynCLR"], 0, knn=(1.0, 1.0), linear_probe=(1.0, 1.0))
    with pytest.raises(SystemExit, match=r"for all of the seeds .0.: StableRep, SimCLR, supervised"):
        list(report(tmp_path, list(COMPARED), [0]))


def test_longer_trainings_stand_by_themselves(tmp_path: Path) -> None:
    for steps, score in ((0, 10.0), (900, 30.0)):
        evaluated(tmp_path, "simclr_nano", 0, steps, knn=(score, score), linear_probe=(score, score))
    summary = {cells(line)[0]: cells(line)[1:] for line in report(tmp_path, ["SimCLR"], [0], 900)}
    assert summary["SimCLR"] == ["30.0", "30.0", "", "1000"]
