"""The quick start's words: what it passes on, and how the stages' lines become one stream."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.quickstart import main, parse, stream
from tests.nano.test_results import evaluated


def test_the_default_is_the_main_job_under_runs_nano() -> None:
    arguments = parse([])
    assert arguments.root == "runs/nano"
    assert arguments.component() == [
        "--recipe", "nano", "--root", "runs/nano", "--mlflow", "sqlite:///runs/mlflow.db", "--",
    ]  # fmt: skip


def test_a_seed_is_every_stages_and_has_a_root_of_its_own() -> None:
    arguments = parse(["--seed", "2", "--", "--schedule.steps", "9"])
    assert arguments.root == "runs/nano-seed-2"
    assert arguments.component()[-6:] == [
        "--", "--caption.seed=2", "--image.seed=2", "--seed=2", "--schedule.steps", "9",
    ]  # fmt: skip


def seconds(*values: float) -> Iterator[float]:
    yield from values


def test_lines_get_the_time_and_the_role_and_lose_what_repeats_it() -> None:
    lines: list[str] = []
    clock = seconds(0.0, 5.0, 75.5)
    take = stream(lambda: next(clock), lines.append)
    take("caption", "caption  32/256 captions (12 %)  3.1 captions/s\n")
    take("evaluate", "features  250/6000 images (4 %)\n")
    assert lines == [
        "00:05  caption   32/256 captions (12 %)  3.1 captions/s",
        "01:15  evaluate  features  250/6000 images (4 %)",
    ]


@pytest.mark.parametrize(
    "noise",
    [
        "",
        "2026/11/22 03:00:00 INFO mlflow.store.db.utils: Creating initial MLflow database tables...",
        "[2026-11-22 03:00:00,123] [INFO] [real_accelerator.py:260:get_accelerator] Setting ds_accelerator to cpu",
        "W1122 03:00:00.000000 123 torch/distributed/run.py:1] something",
        "/lib/python/site.py:1: UserWarning: something old",
        "  warnings.warn(",
        "Loading weights: 100%|##########| 52/52 [00:00<00:00, 3508.75it/s]",
    ],
)
def test_what_libraries_say_while_they_start_is_left_to_the_logs(noise: str) -> None:
    lines: list[str] = []
    stream(lambda: 0.0, lines.append)("pretrain", noise)
    assert not lines


def test_errors_are_passed_on() -> None:
    lines: list[str] = []
    stream(lambda: 0.0, lines.append)("image", "error: image.model: there is no file or folder x")
    assert lines == ["00:00  image     error: image.model: there is no file or folder x"]


def test_that_a_stage_waits_is_said_once() -> None:
    lines: list[str] = []
    take = stream(lambda: 0.0, lines.append)
    for _ in range(3):
        take("evaluate", "evaluation  waiting for runs/nano/labelled/train: no shards\n")
    take("pretrain", "waiting for images\n")
    assert lines == ["00:00  evaluate  waiting for runs/nano/labelled/train", "00:00  pretrain  waiting for images"]


def test_results_that_are_there_are_shown_with_the_way_to_start_afresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path)
    main(["--root", str(tmp_path)])
    said = capsys.readouterr().out
    assert "| linear probe, SynCLR      |  40.0 |" in said
    assert f"rm -r {tmp_path}" in said
    assert f"{tmp_path}/grid.png" in said
    assert "mlflow ui --backend-store-uri sqlite:///runs/mlflow.db" in said


def test_unknown_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--sead", "3"])
    assert "--sead" in capsys.readouterr().err
