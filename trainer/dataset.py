"""Which shards a run learns from: waited for, fixed when the run starts, and the same ever after."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from config import ConfigError, DataError, RetryableError
from shards import Marker, Storage, dataset_digest, markers, read_marker, total_units
from trainer.config import BatchConfig

STAGE = "images"
POLL = 2.0
"""Seconds between two looks at a stage that is still being made."""


@dataclass(frozen=True)
class Shard:
    """What is kept of a marker: 150M captions have too many keys and offsets to hold them all."""

    unit: str
    object: str
    sha256: str
    bytes: int
    samples: int


@dataclass(frozen=True)
class Dataset:
    """The shards of a run, in the order of their units, and the digest that stands for them."""

    shards: tuple[Shard, ...]
    digest: str

    @property
    def captions(self) -> int:
        return sum(shard.samples for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)


def find_dataset(
    storage: Storage,
    config: BatchConfig,
    check: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Dataset:
    """The committed image shards, as soon as there are enough of them. `check` may raise to end the wait.

    Raises DataError if there are too few and the config does not wait, or if two runs mixed their shards;
    RetryableError if it waited in vain; ConfigError if all shards together have fewer captions than a batch.
    """
    end = clock() + config.wait
    found: dict[str, Marker] = {}
    while True:
        check()
        found = markers(storage, STAGE, known=found)
        total = total_units(found)
        if total is not None and len(found) >= min(total, config.start_shards or total):
            break
        if clock() >= end:
            raise _too_few(storage, config, len(found), total)
        sleep(min(POLL, max(end - clock(), 0.0)))
    dataset = dataset_of(found.values())
    if dataset.captions < config.captions:
        raise ConfigError(
            f"batch.captions is {config.captions}, and {storage.url(STAGE)} has {dataset.captions} captions in all: "
            "make batches smaller, or more captions"
        )
    return dataset


def dataset_of(found: Iterable[Marker]) -> Dataset:
    """The dataset of these markers; shards without samples (all refused) are left out."""
    kept = sorted((marker for marker in found if marker.samples), key=lambda marker: marker.unit)
    shards = tuple(Shard(m.unit, m.object, m.sha256, m.bytes, m.samples) for m in kept)
    return Dataset(shards, dataset_digest(kept))


def verify_dataset(storage: Storage, dataset: Dataset) -> None:
    """Raises DataError unless every shard of a dataset that was fixed earlier is still there, and still the same."""

    def look(shard: Shard) -> str | None:
        try:
            marker = read_marker(storage, STAGE, shard.unit)
        except FileNotFoundError:
            return f"{shard.unit} is gone"
        return None if marker.sha256 == shard.sha256 else f"{shard.unit} was made again, with other bytes"

    wrong = [problem for problem in storage.each(look, dataset.shards) if problem]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(
            f"{storage.url(STAGE)} is not what this run began with (digest {dataset.digest[:12]}): shard "
            f"{'; shard '.join(wrong[:3])}{more}. Restore these shards, or begin a new run (--run NAME)"
        )


def encode_dataset(dataset: Dataset) -> dict[str, object]:
    """As JSON values, for a checkpoint."""
    rows = [[shard.unit, shard.object, shard.sha256, shard.bytes, shard.samples] for shard in dataset.shards]
    return {"digest": dataset.digest, "shards": rows}


def decode_dataset(tree: Mapping[str, object]) -> Dataset:
    """The inverse of `encode_dataset`."""
    rows, digest = tree["shards"], tree["digest"]
    assert isinstance(rows, list)
    assert isinstance(digest, str)
    return Dataset(tuple(Shard(*row) for row in rows), digest)


def _too_few(storage: Storage, config: BatchConfig, found: int, total: int | None) -> Exception:
    make = f"python -m generator.image --recipe NAME --root {storage.root}"
    if total is None:
        what = f"there are no image shards under {storage.url(STAGE)}"
    else:
        what = f"{found} of {total} image shards are committed under {storage.url(STAGE)}"
        what += f", batch.start_shards asks for {config.start_shards}" if config.start_shards else ""
    if config.wait:
        return RetryableError(f"{what} after {config.wait:g} s (batch.wait). Is this still running: {make}")
    begin = f", or begin with those there are: --batch.start_shards {found}" if found else ""
    return DataError(f"{what}. Make them: {make}; or wait for them: --batch.wait SECONDS{begin}")
