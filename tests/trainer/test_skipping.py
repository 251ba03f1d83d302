"""Bad samples: raise, or replace and count up to a ceiling."""

import logging
from pathlib import Path

import numpy as np
import pytest

from config import DataError
from shards import Sample, Storage, markers
from tests.trainer.scenes import images, pretrain_config, sample, shard
from trainer.dataset import dataset_of
from trainer.order import Order
from trainer.reading import Reader
from trainer.skipping import Tally, usable


def reader(root: str, policy: str) -> Reader:
    config = pretrain_config(root).batch.model_copy(update={"bad_samples": policy})
    dataset = dataset_of(markers(Storage(root), "images").values())
    return Reader(Storage(root), dataset, Order([one.samples for one in dataset.shards], 0, 2), config)


def broken(number: int) -> Sample:
    return Sample(f"c{number:06}", sample(number).fields | {"0.jpg": b"no picture"})


def test_good_samples_come_as_they_are(tmp_path: Path):
    images(str(tmp_path), shards=1, per_shard=6)
    one = reader(str(tmp_path), "raise")
    captions, messages = usable(one, 0, np.arange(6))
    assert [caption.number for caption in captions] == one.order.samples(np.arange(6)).tolist()
    assert messages == []


def test_raise_names_shard_key_and_field(tmp_path: Path):
    shard(Storage(str(tmp_path)), 0, [sample(0), broken(1), sample(2)], 1)
    with pytest.raises(DataError, match=r"000000-test\.tar: sample 'c000001': '0\.jpg'"):
        usable(reader(str(tmp_path), "raise"), 0, np.arange(3))


def test_skip_replaces_the_bad_ones_and_only_these_and_says_so(tmp_path: Path):
    shard(Storage(str(tmp_path)), 0, [sample(0), broken(1), sample(2), sample(3)], 1)
    one = reader(str(tmp_path), "skip")
    captions, messages = usable(one, 0, np.arange(4))
    wanted = one.order.samples(np.arange(4))
    assert [caption.number for caption, number in zip(captions, wanted, strict=True) if number != 1] == [
        number for number in wanted if number != 1
    ]
    assert all(caption.number != 1 for caption in captions)
    assert messages
    assert all("c000001" in message for message in messages)


def test_the_replacement_depends_on_the_position_alone(tmp_path: Path):
    shard(Storage(str(tmp_path)), 0, [sample(0), broken(1), *(sample(n) for n in range(2, 12))], 1)
    one = reader(str(tmp_path), "skip")
    whole = [caption.number for caption in usable(one, 0, np.arange(12))[0]]
    parts = [caption.number for start in (0, 4, 8) for caption in usable(one, 0, np.arange(start, start + 4))[0]]
    assert whole == parts


def test_a_dataset_of_bad_samples_is_an_error_and_not_a_search_without_end(tmp_path: Path):
    shard(Storage(str(tmp_path)), 0, [broken(n) for n in range(4)], 1)
    with pytest.raises(DataError, match="11 samples in a row cannot be used"):
        usable(reader(str(tmp_path), "skip"), 0, np.arange(4))


def test_the_ceiling_stops_the_run():
    """1 % of the 1000 samples read so far are 10: the eleventh bad one is too much."""
    tally = Tally(ceiling=0.01, captions=5000)
    tally.add(1000, ["bad"] * 10)
    with pytest.raises(DataError, match=r"11 of 1000 samples .*batch\.bad_ceiling \(0\.01\).*the worst"):
        tally.add(0, ["the worst"])


def test_an_early_bad_sample_is_not_yet_a_share():
    """One of the first four is 25 %; judged against the epoch of 200 captions it is 0.5 %."""
    tally = Tally(ceiling=0.01, captions=200)
    tally.add(4, ["bad"])
    assert (tally.read, tally.bad) == (4, 1)


def test_what_was_skipped_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        Tally(1.0, 10).add(4, ["000001-a.tar: sample 'x'"])
    assert "skipped: 000001-a.tar: sample 'x'" in caplog.text
