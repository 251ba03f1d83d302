"""Training runs: exact resume, guards, and what ends them."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from config import ConfigError, DataError, NotFiniteError, Stopped
from config.report import LATEST
from shards import Storage
from tests.trainer.objectives_for_tests import Killed, Log, dies_at
from tests.trainer.scenes import images, pretrain_config, sample, shard
from trainer.checkpoint import Checkpoints, load_encoder
from trainer.config import CheckpointConfig, PretrainConfig
from trainer.loop import train


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    images(str(tmp_path), shards=4, per_shard=5)
    return pretrain_config(str(tmp_path))


def engine(config: PretrainConfig, **changes: object) -> PretrainConfig:
    return config.model_copy(update={"engine": config.engine.model_copy(update=changes)})


def final(config: PretrainConfig) -> dict[str, torch.Tensor]:
    """All that the last checkpoint holds."""
    found = Checkpoints(Storage(config.root), config.run).load(config.schedule.steps)
    return {**found.model, **found.optimizer}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_ends_with_an_encoder_and_running_it_again_does_nothing(
    config: PretrainConfig, capsys: pytest.CaptureFixture[str]
):
    train(config)
    features = load_encoder(Storage(config.root), "test")(torch.randn(2, 3, 16, 16))
    assert features.shape == (2, 16)
    assert torch.isfinite(features).all()
    log = Log()
    train(config, log.build)
    assert log.losses == []
    assert "test is finished (6 steps)" in capsys.readouterr().err


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("died", [1, 3, 4])
def test_a_run_that_died_goes_on_to_the_last_digit(config: PretrainConfig, stage: int, died: int):
    """Checkpoints every 2 steps; loss 3 is that of step 3, so the run goes on at step 2. Its first loss then is the one
    that makes room for AdamW's state: of the same batch and weights, so the same number."""
    config = engine(config, zero_stage=stage)
    straight = Log()
    train(config.model_copy(update={"run": "straight"}), straight.build)

    first = Log(dies_at(died))
    with pytest.raises(Killed):
        train(config, first.build)
    second = Log()
    train(config, second.build)
    again = died - died % 2
    assert first.losses == straight.losses[:died]
    assert second.losses[1 if again else 0 :] == straight.losses[again:]
    assert second.labels[1 if again else 0 :] == straight.labels[again:]
    assert same(final(config), final(config.model_copy(update={"run": "straight"})))


@pytest.mark.parametrize(("steps", "minutes"), [(1, 0), (0, 1e-9), (5, 0)])
def test_a_run_may_go_on_with_another_interval_between_checkpoints_and_trains_the_same(
    config: PretrainConfig, steps: int, minutes: float
):
    straight, first, second = Log(), Log(dies_at(3)), Log()
    train(config.model_copy(update={"run": "straight"}), straight.build)
    with pytest.raises(Killed):
        train(config, first.build)
    other = CheckpointConfig(every_steps=steps, every_minutes=minutes)
    train(config.model_copy(update={"checkpoint": other}), second.build)
    assert second.losses[1:] == straight.losses[2:]
    assert same(final(config), final(config.model_copy(update={"run": "straight"})))


def test_how_long_a_save_takes_is_told_to_whoever_asks(config: PretrainConfig):
    train(config)
    assert json.loads(LATEST.text())["save"] > 0


def test_two_runs_of_one_config_are_the_same(config: PretrainConfig):
    one, two = (config.model_copy(update={"run": name}) for name in ("one", "two"))
    train(one)
    train(two)
    assert same(final(one), final(two))


def test_a_seed_makes_another_run(config: PretrainConfig):
    log, other = Log(), Log()
    train(config, log.build)
    train(config.model_copy(update={"run": "other", "seed": 4}), other.build)
    assert log.losses != other.losses


def test_sigterm_saves_and_stops_and_the_run_goes_on(config: PretrainConfig):
    def stop(number: int) -> float:
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    straight = Log()
    train(config.model_copy(update={"run": "straight"}), straight.build)
    log = Log(stop)
    with pytest.raises(Stopped, match="step 3; everything is saved"):
        train(config, log.build)
    assert Checkpoints(Storage(config.root), "test").steps()[-1] == 3
    rest = Log()
    train(config, rest.build)
    assert log.losses + rest.losses[1:] == straight.losses


def test_one_loss_that_is_not_finite_is_dropped_and_the_run_goes_on(config: PretrainConfig):
    log = Log(lambda number: float("nan") if number == 3 else 1.0)
    train(config, log.build)
    assert len(log.losses) == 6
    found = Checkpoints(Storage(config.root), "test").load(6)
    assert (found.progress.step, found.progress.updates, found.progress.rollbacks) == (6, 5, 0)
    assert all(torch.isfinite(value).all() for value in found.model.values())


def test_three_in_a_row_go_back_to_the_checkpoint_and_on_with_other_batches(config: PretrainConfig):
    """Steps 3, 4 and 5 fail; nothing is saved meanwhile; back to step 2, and on with batch 6."""
    log = Log(lambda number: float("inf") if number in (3, 4, 5) else 1.0)
    train(config, log.build)
    found = Checkpoints(Storage(config.root), "test").load(6)
    assert (found.progress.step, found.progress.batches, found.progress.rollbacks) == (6, 10, 1)
    straight = Log()
    longer = config.model_copy(update={"run": "longer", "schedule": config.schedule.model_copy(update={"steps": 10})})
    train(longer, straight.build)
    assert log.labels[:6] + log.labels[7:] == straight.labels


def test_a_loss_that_stays_broken_ends_the_run(config: PretrainConfig):
    """Two rollbacks are allowed: three times three steps fail, from step 4 on, and no checkpoint is written of that.
    Losses 7 and 11 are those with which a checkpoint's weights are put back."""
    config = config.model_copy(update={"schedule": config.schedule.model_copy(update={"steps": 30})})
    log = Log(lambda number: float("nan") if number >= 4 and number not in (7, 11) else 1.0)
    with pytest.raises(NotFiniteError, match="the run went back 2 times already"):
        train(config, log.build)
    assert Checkpoints(Storage(config.root), "test").steps() == [2, 4]
    weights = Checkpoints(Storage(config.root), "test").load(4).model
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_checkpoint_that_is_broken_itself_ends_the_run(config: PretrainConfig):
    longer = config.model_copy(update={"schedule": config.schedule.model_copy(update={"steps": 30})})
    with pytest.raises(NotFiniteError, match="the weights of the checkpoint give a loss that is not finite"):
        train(longer, Log(lambda number: float("nan") if number >= 4 else 1.0).build)


def test_broken_before_the_first_checkpoint_says_what_to_do(config: PretrainConfig):
    config = engine(config, not_finite_steps=1)
    with pytest.raises(NotFiniteError, match=r"no checkpoint to go back to\. Lower schedule\.lr"):
        train(config, Log(lambda number: float("nan")).build)


def test_another_config_is_refused(config: PretrainConfig):
    with pytest.raises(Killed):
        train(config, Log(dies_at(3)).build)
    with pytest.raises(ConfigError, match="seed was 3 and is 8"):
        train(config.model_copy(update={"seed": 8}))


def test_other_shards_are_refused(config: PretrainConfig):
    with pytest.raises(Killed):
        train(config, Log(dies_at(3)).build)
    for file in (Path(config.root) / "images").glob("000001*"):
        file.unlink()
    shard(Storage(config.root), 1, [sample(77)], 4)
    with pytest.raises(DataError, match=r"not what this run began with .*shard 000001 was made again"):
        train(config)


def test_shards_that_came_after_the_start_stay_out(tmp_path: Path):
    images(str(tmp_path), shards=2, per_shard=5, units=3)
    config = pretrain_config(str(tmp_path))
    config = config.model_copy(update={"batch": config.batch.model_copy(update={"start_shards": 2})})
    first, second = Log(dies_at(3)), Log()
    with pytest.raises(Killed):
        train(config, first.build)
    shard(Storage(str(tmp_path)), 2, [sample(n) for n in range(20, 25)], 3)
    train(config, second.build)
    assert max(label for labels in first.labels + second.labels for label in labels) < 10


def test_bad_samples_stop_the_run_or_are_skipped(tmp_path: Path):
    cut = sample(2)
    cut.fields["0.jpg"] = cut.fields["0.jpg"][:100]
    shard(Storage(str(tmp_path)), 0, [sample(0), sample(1), cut, *(sample(n) for n in range(3, 8))], 1)
    config = pretrain_config(str(tmp_path))
    with pytest.raises(DataError, match=r"'c000002': '0\.jpg' is no complete JPEG"):
        train(config)
    skip = config.batch.model_copy(update={"bad_samples": "skip", "bad_ceiling": 0.5})
    log = Log()
    train(config.model_copy(update={"batch": skip, "run": "skip"}), log.build)
    assert all(2 not in labels for labels in log.labels)


def test_checkpoints_are_left_alone_by_another_run(config: PretrainConfig):
    train(config)
    train(config.model_copy(update={"run": "other"}))
    assert Checkpoints(Storage(config.root), "test").steps() == [4, 6]
