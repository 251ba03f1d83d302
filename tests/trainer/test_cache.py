"""Local copies of remote shards."""

import os
from pathlib import Path

from shards import Storage
from tests.trainer.scenes import images
from trainer.cache import ShardCache
from trainer.dataset import Dataset, dataset_of


class Counting(Storage):
    """A storage that counts how often it is streamed from."""

    streams = 0

    def stream(self, path: str, start: int, stop: int):
        self.streams += 1
        return super().stream(path, start, stop)


def data(tmp_path: Path, shards: int = 3) -> tuple[Counting, Dataset]:
    root = str(tmp_path / "remote")
    return Counting(root), dataset_of(images(root, shards=shards))


def test_a_shard_is_fetched_once(tmp_path: Path):
    remote, dataset = data(tmp_path)
    for _ in range(3):
        local = ShardCache(remote, tmp_path / "cache", "d", limit=10**9).fetched(dataset.shards[0])
    path = f"images/{dataset.shards[0].object}"
    assert local.read(path) == remote.read(path)
    assert remote.streams == 1


def test_the_least_recently_used_goes_first_and_the_limit_holds(tmp_path: Path):
    remote, dataset = data(tmp_path)
    one, two, three = dataset.shards
    cache = ShardCache(remote, tmp_path / "cache", "d", limit=one.bytes + max(two.bytes, three.bytes))
    for age, shard in ((30, one), (20, two)):
        cache.fetched(shard)
        file = tmp_path / "cache/d/images" / shard.object
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    cache.fetched(one)  # used again, so two is the older one now
    cache.fetched(three)
    kept = sorted(file.name for file in (tmp_path / "cache").rglob("*.tar"))
    assert kept == sorted([one.object, three.object])


def test_another_datasets_copies_count_and_may_go(tmp_path: Path):
    remote, dataset = data(tmp_path)
    one, two, _ = dataset.shards
    limit = max(one.bytes, two.bytes)
    ShardCache(remote, tmp_path / "cache", "old", limit).fetched(one)
    ShardCache(remote, tmp_path / "cache", "new", limit).fetched(two)
    assert [file.name for file in (tmp_path / "cache").rglob("*.tar")] == [two.object]


def test_a_shard_larger_than_the_limit_is_read_from_the_remote(tmp_path: Path):
    remote, dataset = data(tmp_path)
    assert ShardCache(remote, tmp_path / "cache", "d", limit=100).fetched(dataset.shards[0]) is remote


def test_half_a_copy_is_fetched_again(tmp_path: Path):
    remote, dataset = data(tmp_path)
    cache = ShardCache(remote, tmp_path / "cache", "d", limit=10**9)
    cache.fetched(dataset.shards[0])
    file = tmp_path / "cache/d/images" / dataset.shards[0].object
    file.write_bytes(file.read_bytes()[:100])
    path = f"images/{dataset.shards[0].object}"
    assert cache.fetched(dataset.shards[0]).read(path) == remote.read(path)
