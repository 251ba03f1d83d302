"""Committing and reading: all or nothing, once, and every byte verified on the way back."""

import random
import time
from pathlib import Path

import pytest

from config import DataError, RetryableError
from shards import Sample, Storage, commit, read_sample, read_samples, read_window
from shards.backend import Data
from shards.shard import checksum
from tests.shards.scenes import commit_images, failing, image_samples


def test_samples_come_back_in_order(storage: Storage) -> None:
    marker = commit_images(storage)
    assert list(read_samples(storage, marker)) == image_samples(12)
    assert [read_sample(storage, marker, index) for index in (11, 0, 5)] == [image_samples(12)[i] for i in (11, 0, 5)]
    assert read_window(storage, marker, 3, 7) == image_samples(12)[3:7]
    assert read_window(storage, marker, 4, 4) == []


def test_the_marker_describes_the_tar(storage: Storage) -> None:
    marker = commit_images(storage, "000001", attempt="g0-ab")
    assert (marker.object, marker.samples, marker.units) == ("000001-g0-ab.tar", 12, 4)
    assert storage.list("images") == ["000001-g0-ab.tar", "000001.json"]
    data = storage.read(marker.object_path)
    assert len(data) == marker.bytes
    assert [checksum(data[start:stop]) for start, stop in marker.offsets] == list(marker.checksums)


def test_fields_can_be_chosen_and_are_then_required(local: Storage) -> None:
    marker = commit_images(local, count=1)
    assert next(read_samples(local, marker, fields=["txt", "json"])).fields.keys() == {"txt", "json"}
    with pytest.raises(DataError, match=r"000000-a1.tar: sample 'c000000000' has no 'png', it has 0.jpg, 1.jpg"):
        read_sample(local, marker, 0, fields=["png", "txt"])


def test_a_unit_without_samples_can_be_committed(storage: Storage) -> None:
    marker = commit_images(storage, count=0)
    assert list(read_samples(storage, marker)) == []


def test_statistics_may_be_counted_while_the_samples_are_made(local: Storage) -> None:
    statistics = {"made": 0}

    def counted() -> list[Sample]:
        samples = image_samples(3)
        statistics["made"] = len(samples)
        return samples

    lazy = (sample for sample in counted())
    marker = commit(local, "images", "000000", lazy, units=1, attempt="a", statistics=statistics, config={})
    assert marker.statistics == {"made": 3}


def test_an_error_in_the_middle_leaves_no_trace(storage: Storage) -> None:
    samples = failing(image_samples(8), after=5)
    with pytest.raises(RuntimeError, match=r"the engine died"):
        commit(storage, "images", "000000", samples, units=1, attempt="a", statistics={}, config={})
    assert storage.entries("images", hidden=True) == []


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([Sample("a.b", {"txt": b""})], "cannot store a sample: sample key 'a.b'"),
        ([Sample("a", {"txt": b""}), Sample("a", {"txt": b""})], "sample 'a' came twice"),
    ],
)
def test_a_sample_that_cannot_be_stored_is_named(local: Storage, samples: list[Sample], message: str) -> None:
    with pytest.raises(DataError, match=message):
        commit(local, "images", "000000", samples, units=1, attempt="a", statistics={}, config={})
    assert local.list("images") == []


def test_a_committed_unit_is_not_made_again(local: Storage) -> None:
    first = commit_images(local, attempt="a1")
    samples = failing([], after=0)
    again = commit(local, "images", "000000", samples, units=4, attempt="a2", statistics={}, config={})
    assert again == first


def test_the_loser_of_a_race_leaves_no_trace(storage: Storage) -> None:
    """Both attempts work at once; the other one commits while ours still makes its samples."""

    def beaten() -> list[Sample]:
        commit_images(storage, attempt="winner", seed=1)
        return image_samples(3)

    lazy = (sample for sample in beaten())
    got = commit(storage, "images", "000000", lazy, units=4, attempt="loser", statistics={}, config={})
    assert got.object == "000000-winner.tar"
    assert storage.list("images") == ["000000-winner.tar", "000000.json"]
    assert list(read_samples(storage, got)) == image_samples(12, seed=1)


def test_an_attempt_that_failed_after_its_upload_can_go_on(local: Storage) -> None:
    """The same attempt again finds its own tar and needs only the marker; another's bytes it must not adopt."""
    first = commit_images(local)
    local.delete(first.path)
    assert commit_images(local) == first
    local.delete(first.path)
    with pytest.raises(RetryableError, match=r"000000-a1.tar exists with other bytes"):
        commit_images(local, seed=5)


def test_a_missing_object_is_an_error_with_a_remedy(storage: Storage) -> None:
    marker = commit_images(storage)
    storage.delete(marker.object_path)
    remedy = r"images/000000-a1.tar: the object is missing. To have the unit made again, delete .*images/000000.json"
    with pytest.raises(DataError, match=remedy):
        list(read_samples(storage, marker))
    with pytest.raises(DataError, match=remedy):
        read_sample(storage, marker, 3)


@pytest.mark.parametrize("kept", [0, 511, 512, 1024, 0.5, 0.99])
def test_a_cut_object_is_an_error(storage: Storage, kept: float) -> None:
    """Also where it is cut between two members, which tarfile and webdataset take for the end."""
    marker = commit_images(storage)
    data = storage.read(marker.object_path)
    storage.replace(marker.object_path, data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(DataError, match=rf"000000-a1.tar: the object has .* bytes instead of {marker.bytes}"):
        list(read_samples(storage, marker))
    with pytest.raises(DataError, match=r"000000-a1.tar: sample 11 \('c000000011'.*is cut"):
        read_sample(storage, marker, 11)


def test_any_flipped_bit_is_noticed(local: Storage) -> None:
    marker = commit_images(local, count=4)
    data = local.read(marker.object_path)
    rng = random.Random(3)
    for _ in range(60):
        place = rng.randrange(len(data))
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        local.replace(marker.object_path, bytes(damaged))
        with pytest.raises(DataError, match=r"000000-a1.tar"):
            list(read_samples(local, marker))
        hit = [index for index, (start, stop) in enumerate(marker.offsets) if start <= place < stop]
        for index in hit:
            with pytest.raises(DataError, match=rf"sample {index} "):
                read_sample(local, marker, index)


def test_good_samples_before_a_damaged_one_are_handed_out(local: Storage) -> None:
    """The caller decides what a bad sample means; until then it has what is good, never what is bad."""
    marker = commit_images(local, count=6)
    data = bytearray(local.read(marker.object_path))
    data[marker.offsets[4][0] + 600] ^= 1
    local.replace(marker.object_path, bytes(data))
    reader = read_samples(local, marker)
    assert [next(reader) for _ in range(4)] == image_samples(6)[:4]
    with pytest.raises(DataError, match=r"sample 4 .* is not what was written"):
        next(reader)


def test_a_commit_that_slept_too_long_gives_up(local: Storage, tmp_path: Path) -> None:
    """Its tar may have been swept away as dead, so it must not be marked."""

    class Slow(Storage):
        def create(self, path: str, data: Data) -> None:
            super().create(path, data)
            assert path.endswith(".tar"), "the marker must not be created"

    clock = iter([0.0, 4000.0])
    with pytest.raises(RetryableError, match=r"took more than 3600 s"):
        commit(
            Slow(local.root),
            "images",
            "000000",
            image_samples(1),
            units=1,
            attempt="a",
            statistics={},
            config={},
            clock=lambda: next(clock),
        )


def test_speed_of_reading_one_sample_does_not_depend_on_the_shard(local: Storage) -> None:
    """A ranged read of one sample out of 2,000 must not touch the others."""
    marker = commit_images(local, count=2000)
    started = time.process_time()
    for index in range(0, 2000, 20):
        read_sample(local, marker, index)
    each = (time.process_time() - started) / 100
    assert each < 0.005
