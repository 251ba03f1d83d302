"""Stages are processes: they start together on a database that is not there yet, write at once, and get killed."""

import multiprocessing
import os
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tracking.conftest import Params
from tracking import TrackingConfig, stage_run

STEPS = 50


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes that need not import MLflow one after the other: only so do they really start together."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "tests.tracking.test_processes"])
    return context


def work(uri: str, stage: str, start: float, first: int = 0, last: int = STEPS, die: bool = False) -> None:
    time.sleep(max(0.0, start - time.time()))
    config = TrackingConfig(uri=uri, system_metrics=False, flush_seconds=120)
    with stage_run(config, stage, root="runs/nano", params=Params(), resume_key=None) as run:
        run.log_dataset("images", "e" * 64, "runs/nano", {"shards": 4})  # of several rows with one key the first wins
        for step in range(first, last):
            run.log_metrics({"loss": float(step)}, step)
            time.sleep(0.01)
        while die:
            if run.run_id is not None:
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stages_that_start_together_on_no_database(context: ForkServerContext, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    stages = ["caption", "image", "pretrain", "evaluation", "image", "image"]  # three workers paint
    start = time.time() + 1
    processes = [context.Process(target=work, args=(uri, stage, start)) for stage in stages]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [0] * len(stages)

    client = MlflowClient(uri)
    (found,) = client.search_experiments(filter_string="name = 'reverie'")
    experiment = found.experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert sorted(runs) == ["caption", "evaluation", "image", "nano", "pretrain"]
    assert len(client.search_runs([experiment])) == 5, "one parent, and one child per stage"
    for stage in set(stages):
        assert [given.dataset.name for given in runs[stage].inputs.dataset_inputs] == ["images"]
        values = {m.step for m in client.get_metric_history(runs[stage].info.run_id, f"{stage}/loss")}
        assert values == set(range(STEPS))
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.timeout(600)
def test_a_killed_stage_continues_its_run(context: ForkServerContext, config: TrackingConfig) -> None:
    killed = context.Process(target=work, args=(config.uri, "pretrain", 0.0, 0, 10, True))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    again = context.Process(target=work, args=(config.uri, "pretrain", 0.0, 5, 20))
    again.start()
    again.join()
    assert again.exitcode == 0
    client = MlflowClient(config.uri)
    parent, child = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
    assert [run.info.run_name for run in (parent, child)] == ["nano", "pretrain"]
    history = client.get_metric_history(child.info.run_id, "pretrain/loss")
    assert {m.step for m in history} == set(range(20))
