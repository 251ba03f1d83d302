"""How often pretraining saves follows from how long a save takes and how often it fails. Figures by hand."""

import json
import math

import pytest

from controller.actions import Action, CreateJob
from controller.intervals import between_failures, daly
from tests.controller.simulated import Simulated, failed


def test_young_s_interval_with_daly_s_two_corrections() -> None:
    """C = 8 s, M = 900 s: sqrt(2 C M) = 120 s, and C / 2M = 1/225, its root 1/15. So 120 (1 + 1/45 + 1/2025) - 8."""
    assert daly(8, 900) == pytest.approx(120 + 120 / 45 + 120 / 2025 - 8)
    assert daly(8, 900) == pytest.approx(114.726, abs=5e-4)


def test_where_a_save_takes_twice_the_time_between_failures_or_more_it_saves_once_in_that_time() -> None:
    assert daly(10, 5) == 5
    assert daly(1000, 5) == 5


@pytest.mark.parametrize("save", [1.0, 8.0, 60.0])
@pytest.mark.parametrize("between", [600.0, 3600.0, 86_400.0])
def test_no_other_interval_loses_less_time(save: float, between: float) -> None:
    """The share that is lost, from Daly's Eq. 20 with restarts that cost nothing: (e^((T + C) / M) - 1) M / T - 1."""

    def lost(interval: float) -> float:
        return math.expm1((interval + save) / between) * between / interval

    best = min(lost(daly(save, between) * 1.02**power) for power in range(-100, 101))
    assert lost(daly(save, between)) == pytest.approx(best, rel=1e-3)
    assert lost(daly(save, between)) < min(lost(daly(save, between) * off) for off in (0.5, 2.0))


def test_before_the_first_failure_a_day_is_believed_or_less_of_many_nodes() -> None:
    """154 node-days: of 1540 nodes a tenth of a day."""
    assert between_failures(0, 0, nodes=1) == pytest.approx(86_400)
    assert between_failures(0, 0, nodes=154) == pytest.approx(86_400)
    assert between_failures(0, 0, nodes=1540) == pytest.approx(8640)


def test_failures_outvote_what_is_believed() -> None:
    """3 in 10 hours: (8640 + 36000) / 3.1 s = 4 h, where 3 h 20 min were seen; 30 in 100 hours: 3 h 23 min."""
    assert between_failures(36_000, 3, nodes=1) == pytest.approx(14_400)
    assert between_failures(360_000, 30, nodes=1) == pytest.approx(368_640 / 30.1)


def pretraining(**config: object) -> Simulated:
    """A run of one node whose encoder learns; the recipe says a checkpoint each minute."""
    changes = {f"pretrain.config.checkpoint.{key}": value for key, value in config.items()}
    run = Simulated({"evaluate.data": "s3://bucket/labelled", **changes})
    run.reconcile()
    run.run_to("caption", "image")
    run.set("pretrain", "Running")
    run.reconcile()
    return run


def fail(run: Simulated, code: int, seconds: float, save: float | None) -> tuple[Action, ...]:
    """It runs so long, saves so slowly, and fails; what is done when its wait is over."""
    run.report("pretrain", done=10, step=0.5, save=save)
    run.reconcile(seconds)
    run.set("pretrain", "Failed", failed(code))
    run.reconcile()
    return run.reconcile(300)


def minutes(actions: tuple[Action, ...]) -> float:
    """Between checkpoints, as the new job is told."""
    (job,) = [one.job for one in actions if isinstance(one, CreateJob)]
    args = job["spec"]["tasks"][0]["template"]["spec"]["containers"][0]["args"]
    (flag,) = [one for one in args if one.startswith("--checkpoint=")]
    return float(json.loads(flag.removeprefix("--checkpoint="))["every_minutes"])


@pytest.mark.parametrize(
    ("what", "code", "seconds", "save", "wanted"),
    [
        # M = (8640 + 1260) / 1.1 = 9000 s: sqrt(2 C M) = 300 s, C / 2M = 1/3600: 300 (1 + 1/180 + 1/32400) - 5
        ("a crash", 1, 1260, 5.0, 296.7),
        ("a hang", 76, 1260, 5.0, 296.7),
        # M = (8640 + 1260) / 0.1 = 99000 s: 994.987 (1 + 1/597.0 + 1/356400) - 5
        ("a preemption is no failure: the run saved", 143, 1260, 5.0, 991.7),
        ("a save that costs nothing", 1, 1260, 0.01, 30.0),
        ("a save of 50 minutes that is hardly ever needed", 143, 1260, 3000.0, 7200.0),
        ("no save was seen", 1, 1260, None, None),
    ],
)
def test_the_next_attempt_is_told_its_interval(
    what: str, code: int, seconds: float, save: float | None, wanted: float | None
) -> None:
    run = pretraining(byFailures=True)
    assert run.stage("pretrain").checkpoint_seconds is None, "nothing is known before the first attempt"
    actions = fail(run, code, seconds, save)
    assert run.stage("pretrain").checkpoint_seconds == wanted, what
    assert minutes(actions) == pytest.approx(1.0 if wanted is None else wanted / 60, abs=1e-3)


def test_unless_it_is_asked_for_the_config_holds() -> None:
    run = pretraining()
    assert minutes(fail(run, 1, 1260, 5.0)) == 1.0
    assert run.stage("pretrain").checkpoint_seconds is None
    assert run.stage("pretrain").save_seconds == 5.0, "it is told all the same"


def test_time_in_which_nothing_ran_is_not_counted() -> None:
    """Waits of 300 s and a suspension of a day lie between two attempts of 1260 s: M = (8640 + 2520) / 2.1 s."""
    run = pretraining(byFailures=True)
    fail(run, 1, 1260, 5.0)
    run.edit(suspend=True)
    run.reconcile()
    run.remove_deleted()
    run.reconcile(86_400)
    run.edit(suspend=False)
    run.reconcile()
    run.set("pretrain", "Running")
    run.reconcile()
    fail(run, 1, 1260, 5.0)
    stage = run.stage("pretrain")
    assert (stage.running_seconds, stage.failed) == (2520, 2)
    assert stage.checkpoint_seconds == pytest.approx(daly(5, 11_160 / 2.1), abs=0.05)


def test_a_job_that_is_made_again_for_the_same_attempt_is_the_same() -> None:
    """A controller died between status and job."""
    run = pretraining(byFailures=True)
    first = minutes(fail(run, 1, 1260, 5.0))
    name = run.stage("pretrain").job_name
    run.seen = run.seen.__class__(**{**vars(run.seen), "jobs": tuple(j for j in run.seen.jobs if j.name != name)})
    assert minutes(run.reconcile(60)) == first
