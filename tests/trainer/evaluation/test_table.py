"""The table that the quick start ends with."""

from tests.trainer.evaluation.toys import PROBE
from trainer.config import EvaluateConfig
from trainer.evaluation import EVALUATORS
from trainer.evaluation.table import render

TASKS = ["shape", "colour", "background", "texture", "shape_colour"]


def test_a_block_per_evaluator_with_best_epochs_and_means_in_100_columns() -> None:
    knn = {f"{task}_top1": 10.0 * n for n, task in enumerate(TASKS)}
    probe = {**{k: v + 60 for k, v in knn.items()}, **{f"{k}_best": v + 61 for k, v in knn.items()}}
    encoders = ("random_init", "raw_pixels", "synclr")
    results = {"knn": dict.fromkeys(encoders, knn), "linear_probe": dict.fromkeys(encoders, probe)}
    text = render(results, TASKS, EvaluateConfig(linear_probe=PROBE))
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines() == [
        "k-NN (k = 20), top-1 %",
        "               shape  colour  background  texture  shape+colour  mean",
        "  random init    0.0    10.0        20.0     30.0          40.0  20.0",
        "  raw pixels     0.0    10.0        20.0     30.0          40.0  20.0",
        "  SynCLR         0.0    10.0        20.0     30.0          40.0  20.0",
        "",
        "linear probe, top-1 % after the last epoch (after the best one)",
        "                     shape       colour   background      texture   shape+colour         mean",
        "  random init  60.0 (61.0)  70.0 (71.0)  80.0 (81.0)  90.0 (91.0)  100.0 (101.0)  80.0 (81.0)",
        "  raw pixels   60.0 (61.0)  70.0 (71.0)  80.0 (81.0)  90.0 (91.0)  100.0 (101.0)  80.0 (81.0)",
        "  SynCLR       60.0 (61.0)  70.0 (71.0)  80.0 (81.0)  90.0 (91.0)  100.0 (101.0)  80.0 (81.0)",
    ]


def test_an_evaluator_has_one_name_everywhere() -> None:
    for name, evaluator in EVALUATORS.items():
        assert name in EvaluateConfig.model_fields
        assert evaluator.__module__ == f"trainer.evaluation.{name}"
