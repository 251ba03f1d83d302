"""What a stage logs is in MLflow afterwards, and MLflow can do a stage no harm."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image
from sqlalchemy import event
from sqlalchemy.orm import Session

from config import Stopped
from config.report import LATEST
from tests.tracking.conftest import Params
from tracking import Run, TrackingConfig, stage_run


def start(config: TrackingConfig, stage: str, **options: Any) -> Any:
    return stage_run(config, stage, **{"root": "runs/nano", "params": Params(), "resume_key": None, **options})


def runs(config: TrackingConfig) -> list[Any]:
    """All runs, the oldest first."""
    client = MlflowClient(config.uri)
    (found,) = client.search_experiments(filter_string=f"name = '{config.experiment}'")
    return list(client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))


def test_stages_are_children_of_their_pipelines_one_parent(config: TrackingConfig) -> None:
    for stage in ("caption", "image"):
        with start(config, stage):
            pass
    with start(config, "caption", root="runs/other"):
        pass
    names = {run.info.run_id: run.info.run_name for run in runs(config)}
    parents = [(names.get(r.data.tags.get("mlflow.parentRunId", "")), r.info.run_name) for r in runs(config)]
    assert parents == [(None, "nano"), ("nano", "caption"), ("nano", "image"), (None, "other"), ("other", "caption")]
    assert {run.info.status for run in runs(config)} == {"FINISHED"}


def test_whoever_asks_for_the_progress_is_told_the_pipeline_s_run(config: TrackingConfig) -> None:
    with start(config, "caption"):
        pass
    parent, _ = runs(config)
    LATEST.put("caption", 1, 2, 0.0, {})
    recorded = json.loads(LATEST.text())["recorded"]
    assert recorded == f"experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"


def test_a_given_parent_is_used(config: TrackingConfig) -> None:
    client = MlflowClient(config.uri)
    parent = client.create_run(client.create_experiment("mine")).info.run_id
    with start(config.model_copy(update={"parent": parent}), "image"):
        pass
    (child,) = client.search_runs(["1"], f"tags.mlflow.parentRunId = '{parent}'")
    assert child.info.run_name == "image"


def test_metrics_params_tags_and_pictures_arrive(config: TrackingConfig, tmp_path: Path) -> None:
    with start(config, "pretrain") as run:
        for step in range(3):
            run.log_metrics({"loss_nats": 1 / (step + 1), "system/gpu": 5.0}, step)
        run.set_tag("note", "from s3://ada:pa55@bucket")
        run.log_picture(Image.new("RGB", (4, 4)), "pictures/grid.png")
    _, child = runs(config)
    client = MlflowClient(config.uri)
    history = client.get_metric_history(child.info.run_id, "pretrain/loss_nats")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert child.data.metrics["system/gpu"] == 5.0
    assert child.data.params == {"count": "400", "root": "s3://***@bucket/runs"}
    assert child.data.tags["note"] == "from s3://***@bucket"
    stored = tmp_path / "runs" / "artifacts" / child.info.run_id / "artifacts" / "pictures" / "grid.png"
    with Image.open(stored) as picture:
        assert picture.size == (4, 4)


def test_a_restarted_stage_continues_its_run(config: TrackingConfig) -> None:
    def killed() -> None:
        with start(config, "pretrain", resume_key="a") as run:
            run.log_metrics({"loss": 2.0}, 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        killed()
    assert [r.info.status for r in runs(config)] == ["FAILED", "FAILED"]
    with start(config, "pretrain", resume_key="b"):
        pass
    with start(config, "pretrain", resume_key="a", params=Params(count=500)) as run:
        run.log_metrics({"loss": 1.0}, 2)
    _, first, second = runs(config)
    assert (first.info.run_name, second.info.run_name) == ("pretrain a", "pretrain b")
    history = MlflowClient(config.uri).get_metric_history(first.info.run_id, "pretrain/loss")
    assert [m.step for m in history] == [1, 2]
    assert first.data.params["count"] == "400", "MLflow's params are final"
    assert first.data.tags["changed.count"] == "500"


@pytest.mark.parametrize(
    ("error", "status"), [(Stopped("preempted"), "KILLED"), (KeyboardInterrupt(), "KILLED"), (OSError(), "FAILED")]
)
def test_the_end_of_a_stage_is_the_end_of_its_run(config: TrackingConfig, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), start(config, "pretrain"):
        raise error
    assert [run.info.status for run in runs(config)] == [status, status]


def test_a_parent_runs_as_long_as_one_of_its_stages(config: TrackingConfig) -> None:
    with start(config, "caption") as caption:
        with start(config, "image"):
            while caption.run_id is None:
                time.sleep(0.01)
        states = {run.info.run_name: run.info.status for run in runs(config)}
        assert states == {"nano": "RUNNING", "caption": "RUNNING", "image": "FINISHED"}


def test_shards_are_recorded_as_a_dataset_input(config: TrackingConfig) -> None:
    import mlflow.data

    with start(config, "pretrain") as run:
        run.log_dataset("images", "e" * 64, "s3://ada:pa55@bucket/runs", {"shards": 4, "samples": 200})
    _, child = runs(config)
    (given,) = child.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("images", "e" * 36)
    assert given.dataset.profile == '{"shards": 4, "samples": 200}'
    source = mlflow.data.get_source(given.dataset)
    assert source.to_dict() == {"root": "s3://***@bucket/runs", "digest": "e" * 64}
    assert source.load() == "s3://***@bucket/runs"


def test_a_dataset_that_another_run_records_between_mlflow_s_look_and_its_write(config: TrackingConfig) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlDataset

    recorded: list[bool] = []

    def meanwhile(session: Session, *_: Any) -> None:
        if not recorded and any(isinstance(row, SqlDataset) for row in session.new):
            recorded.append(True)
            with start(config, "evaluation") as other:
                other.log_dataset("images", "e" * 64, "runs/nano", {})

    event.listen(Session, "before_flush", meanwhile)
    try:
        with start(config, "pretrain") as run:
            run.log_dataset("images", "e" * 64, "runs/nano", {})
    finally:
        event.remove(Session, "before_flush", meanwhile)
    assert recorded
    assert [len(run.inputs.dataset_inputs) for run in runs(config)] == [0, 1, 1], "the parent, and both stages"


def test_system_metrics_even_of_a_short_stage(config: TrackingConfig) -> None:
    with start(config.model_copy(update={"system_metrics": True}), "image"):
        pass
    _, child = runs(config)
    assert 0 <= child.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert child.data.metrics["system/system_memory_usage_megabytes"] > 0


def test_a_server_that_is_down_neither_stops_nor_delays_a_stage(caplog: pytest.LogCaptureFixture) -> None:
    config = TrackingConfig(uri="http://ada:pa55@127.0.0.1:9", flush_seconds=0.2, system_metrics=False)
    with start(config, "pretrain") as run:
        started = time.monotonic()
        for step in range(100):
            run.log_metrics({"loss": 1.0}, step)
        assert time.monotonic() - started < 1
        while "not reached" not in caplog.text:
            time.sleep(0.01)
        assert run.run_id is None
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert caplog.text.count("not reached") == 1
    assert "101 values, pictures or models were not delivered" in caplog.text
    assert "pa55" not in caplog.text


def test_a_database_that_comes_late_gets_everything(config: TrackingConfig, tmp_path: Path) -> None:
    there, away = tmp_path / "runs", tmp_path / "away"
    there.rename(away)
    there.write_text("in the way")
    with start(config, "pretrain") as run:
        run.log_metrics({"loss": 1.0}, 7)
        time.sleep(0.3)
        there.unlink()
        away.rename(there)
    _, child = runs(config)
    assert child.data.metrics == {"pretrain/loss": 1.0}
    assert child.data.params["count"] == "400"


def test_switched_off_nothing_happens_and_mlflow_is_not_imported() -> None:
    code = """
import sys
from tracking import TrackingConfig, stage_run

with stage_run(TrackingConfig(enabled=False), "image", root="x", params=TrackingConfig()) as run:
    run.log_metrics({"a": 1.0}, 0)
    run.set_tag("a", "b")
    run.log_dataset("a", "b", "c", {})
assert "mlflow" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_run_without_a_sink_takes_everything(tmp_path: Path) -> None:
    run = Run("image", None)
    run.log_picture(Image.new("RGB", (2, 2)), "a.png")
    assert run.log_encoder(None, None, version="", step=0) is None  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        run.log_picture(tmp_path / "none.png", "a.png")
