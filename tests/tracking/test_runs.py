"""Processes that start together, on one machine or on several, agree on one run."""

import contextlib
from pathlib import Path

from mlflow import MlflowClient

from tracking import TrackingConfig, server
from tracking.runs import KEY, Runs, agree, pipeline_key


class Memory:
    """A ledger; `race` is entered by somebody else just before our own first create."""

    def __init__(self, race: str | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.race = race

    def create(self, path: str, data: bytes) -> None:
        if self.race is not None:
            self.files[path], self.race = self.race.encode(), None
        if path in self.files:
            raise FileExistsError(path)
        self.files[path] = data

    def read(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None


def test_the_first_entry_wins() -> None:
    ledger = Memory()
    assert agree(ledger, "p", "mine", lambda _: True) == "mine"
    assert agree(ledger, "p", "other", lambda _: True) == "mine"
    assert agree(Memory(race="faster"), "p", "mine", lambda _: True) == "faster"


def test_an_entry_whose_run_is_gone_is_passed_over() -> None:
    ledger = Memory()
    agree(ledger, "p", "deleted", lambda _: True)
    assert agree(ledger, "p", "mine", lambda run: run != "deleted") == "mine"
    assert ledger.files == {"p.0": b"deleted", "p.1": b"mine"}


def make(config: TrackingConfig, ledger: Memory | None) -> Runs:
    client = server.connect(config.uri)
    return Runs(client, config.uri, server.experiment(client, config.uri, "reverie"), ledger)


def test_the_loser_of_a_race_between_machines_leaves_no_run_behind(config: TrackingConfig) -> None:
    runs = make(config, None)
    winner = runs.client.create_run(runs.experiment, tags={KEY: "elsewhere"}).info.run_id
    late = Runs(runs.client, runs.uri, runs.experiment, Memory(race=winner))
    assert late.parent("runs/nano", "") == winner
    assert [run.info.run_id for run in runs.client.search_runs([runs.experiment])] == [winner]


def test_a_run_that_was_made_but_not_entered_is_taken_up(config: TrackingConfig) -> None:
    orphan = make(config, None).parent("runs/nano", "")  # killed before it reached the ledger
    ledger = Memory()
    assert make(config, ledger).parent("runs/nano", "") == orphan
    assert list(ledger.files.values()) == [orphan.encode()]


def test_a_deleted_parent_is_replaced(config: TrackingConfig) -> None:
    runs = make(config, Memory())
    first = runs.parent("runs/nano", "")
    runs.client.delete_run(first)
    second = runs.parent("runs/nano", "")
    assert second != first
    assert runs.parent("runs/nano", "") == second


def test_a_pipeline_has_one_name_wherever_it_is_started(tmp_path: Path) -> None:
    absolute = f"{tmp_path}/runs/nano"
    with contextlib.chdir(tmp_path):
        assert len({pipeline_key(r) for r in ("runs/nano", "runs/nano/", absolute, f"file://{absolute}")}) == 1
    assert pipeline_key("s3://key:old@bucket/a") == pipeline_key("s3://key:new@bucket/a")
    assert pipeline_key("runs/nano") != pipeline_key("runs/other")
    assert pipeline_key("runs/nano") != pipeline_key("runs/nano", "second")


def test_artifacts_lie_beside_the_database(config: TrackingConfig, tmp_path: Path) -> None:
    runs = make(config, None)
    found = MlflowClient(config.uri).get_experiment(runs.experiment)
    assert found.artifact_location == (tmp_path / "runs" / "artifacts").as_uri()
