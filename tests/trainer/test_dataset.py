"""Which shards a run learns from."""

from pathlib import Path

import pytest

from config import ConfigError, DataError, RetryableError, Stopped
from shards import Storage, dataset_digest
from tests.trainer.scenes import images, pretrain_config, sample, shard
from trainer.config import BatchConfig
from trainer.dataset import decode_dataset, encode_dataset, find_dataset, verify_dataset


def batch(root: str, **changes: object) -> BatchConfig:
    return pretrain_config(root).batch.model_copy(update=changes)


class Time:
    """A clock that moves when somebody sleeps; `events` happen on the way."""

    def __init__(self, **events) -> None:
        self.now, self.events = 0.0, {float(at[1:]): event for at, event in events.items()}

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self.events if at <= self.now]:
            self.events.pop(at)()


def test_all_shards_in_the_order_of_their_units_and_their_digest(tmp_path: Path):
    markers = images(str(tmp_path), shards=3, per_shard=4)
    dataset = find_dataset(Storage(str(tmp_path)), batch(str(tmp_path)))
    assert [shard.unit for shard in dataset.shards] == ["000000", "000001", "000002"]
    assert dataset.captions == 12
    assert dataset.digest == dataset_digest(markers)


def test_nothing_there_says_which_command_makes_it(tmp_path: Path):
    with pytest.raises(DataError, match=r"no image shards under .*images.*python -m generator\.image .*--batch\.wait"):
        find_dataset(Storage(str(tmp_path)), batch(str(tmp_path)))


def test_some_missing_says_how_many_and_how_to_begin_without(tmp_path: Path):
    images(str(tmp_path), shards=2, units=5)
    with pytest.raises(DataError, match=r"2 of 5 image shards .*--batch\.start_shards 2"):
        find_dataset(Storage(str(tmp_path)), batch(str(tmp_path)))


def test_enough_shards_are_enough(tmp_path: Path):
    images(str(tmp_path), shards=2, units=5)
    assert len(find_dataset(Storage(str(tmp_path)), batch(str(tmp_path), start_shards=2)).shards) == 2


def test_waits_for_shards_that_come_later(tmp_path: Path):
    storage = Storage(str(tmp_path))
    images(str(tmp_path), shards=1, units=2)
    time = Time(s5=lambda: shard(storage, 1, [sample(7)], 2))
    dataset = find_dataset(storage, batch(str(tmp_path), wait=60.0), clock=time.clock, sleep=time.sleep)
    assert len(dataset.shards) == 2
    assert 5 <= time.now < 10


def test_waiting_in_vain_may_be_tried_again(tmp_path: Path):
    time = Time()
    with pytest.raises(RetryableError, match=r"after 60 s \(batch\.wait\)"):
        find_dataset(Storage(str(tmp_path)), batch(str(tmp_path), wait=60.0), clock=time.clock, sleep=time.sleep)
    assert time.now == 60


def test_a_wait_can_be_stopped(tmp_path: Path):
    def stop() -> None:
        raise Stopped("now")

    with pytest.raises(Stopped):
        find_dataset(Storage(str(tmp_path)), batch(str(tmp_path), wait=60.0), check=stop)


def test_fewer_captions_than_a_batch_is_a_wrong_config(tmp_path: Path):
    images(str(tmp_path), shards=1, per_shard=3)
    with pytest.raises(ConfigError, match=r"batch\.captions is 4, .* has 3 captions"):
        find_dataset(Storage(str(tmp_path)), batch(str(tmp_path)))


def test_shards_without_samples_are_left_out(tmp_path: Path):
    storage = Storage(str(tmp_path))
    shard(storage, 0, [sample(n) for n in range(4)], 2)
    shard(storage, 1, [], 2)
    assert [one.unit for one in find_dataset(storage, batch(str(tmp_path))).shards] == ["000000"]


def test_survives_a_checkpoint(tmp_path: Path):
    images(str(tmp_path))
    dataset = find_dataset(Storage(str(tmp_path)), batch(str(tmp_path)))
    assert decode_dataset(encode_dataset(dataset)) == dataset


def test_shards_that_came_later_do_not_matter(tmp_path: Path):
    storage = Storage(str(tmp_path))
    images(str(tmp_path), shards=2, units=3)
    dataset = find_dataset(storage, batch(str(tmp_path), start_shards=2))
    shard(storage, 2, [sample(90)], 3)
    verify_dataset(storage, dataset)


def test_a_lost_and_a_changed_shard_are_named(tmp_path: Path):
    storage = Storage(str(tmp_path))
    images(str(tmp_path), shards=3)
    dataset = find_dataset(storage, batch(str(tmp_path)))
    for unit in ("000000", "000002"):
        storage.delete(f"images/{unit}.json")
        storage.delete(f"images/{unit}-test.tar")
    shard(storage, 2, [sample(50)], 3)
    with pytest.raises(DataError, match=r"000000 is gone; shard 000002 was made again.*--run NAME"):
        verify_dataset(storage, dataset)
