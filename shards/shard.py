"""A shard: the samples of one unit, committed as a whole by its marker, read back with every byte verified."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from mmap import ACCESS_READ, mmap
from typing import IO, Any

from config.errors import DataError, RetryableError
from shards.faults import in_words
from shards.marker import Marker, encode_marker, marker_path, read_marker
from shards.storage import Storage
from shards.tar import END, Sample, TarError, decode_samples, encode_sample

_ATTEMPT = re.compile(r"[A-Za-z0-9_-]+")

MARK_WITHIN = 3600.0
"""Seconds within which a tar gets its marker or is given up: `shards.upkeep` believes older ones to be dead."""


class _Tar:
    """A tar that grows on local disk in a file without a name: if the process dies, it is gone."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.bytes = 0
        self.index: dict[str, tuple[int, int]] = {}
        self.checksums: list[str] = []

    def add(self, sample: Sample) -> None:
        if sample.key in self.index:
            raise DataError(f"sample {sample.key!r} came twice in one shard; keys must be unique")
        try:
            data = encode_sample(sample)
        except ValueError as error:
            raise DataError(f"cannot store a sample: {error}") from error
        self.index[sample.key] = (self.bytes, self.bytes + len(data))
        self.checksums.append(checksum(data))
        self._write(data)

    def close(self) -> None:
        self._write(END)
        self.file.flush()

    def _write(self, data: bytes) -> None:
        with in_words("write", f"a temporary file in {tempfile.gettempdir()}"):
            self.file.write(data)
        self.hash.update(data)
        self.bytes += len(data)


def commit(
    storage: Storage,
    stage: str,
    unit: str,
    samples: Iterable[Sample],
    *,
    units: int,
    attempt: str,
    statistics: dict[str, Any],
    config: dict[str, Any],
    clock: Callable[[], float] = time.time,
) -> Marker:
    """Make the samples of a unit part of the data, all or nothing, once however many try.

    The tar is complete on local disk before anything is uploaded, so an error in `samples` leaves no trace. The tar
    gets a name of this attempt's own, the marker is created exclusively and last. Whoever loses that race deletes its
    tar and gets the winner's marker; if there is a winner already, `samples` is not even begun.
    `statistics` is read after the last sample: the iterable may fill it.

    Raises: DataError for a sample that cannot be stored or comes twice, RetryableError for storage and full disks.
    """
    assert _ATTEMPT.fullmatch(attempt), f"attempt must be letters, digits, '-' and '_', got {attempt!r}"
    if storage.exists(marker_path(stage, unit)):
        return read_marker(storage, stage, unit)
    name = f"{unit}-{attempt}.tar"
    with tempfile.TemporaryFile(prefix="reverie-") as file:
        tar = _Tar(file)
        for sample in samples:
            tar.add(sample)
        tar.close()
        marker = Marker(
            stage=stage,
            unit=unit,
            units=units,
            object=name,
            sha256=tar.hash.hexdigest(),
            bytes=tar.bytes,
            samples=len(tar.index),
            keys=tuple(tar.index),
            offsets=tuple(tar.index.values()),
            checksums=tuple(tar.checksums),
            statistics=statistics,
            config=config,
        )
        if storage.exists(marker.path):  # someone was quicker: spare the upload
            return read_marker(storage, stage, unit)
        started = clock()
        _upload(storage, marker, file)
    if clock() - started > MARK_WITHIN:
        raise RetryableError(
            f"uploading {storage.url(marker.object_path)} took more than {MARK_WITHIN:.0f} s (or the machine slept); "
            "it may have been swept away as dead. Run the same command again"
        )
    return _publish(storage, marker)


def _upload(storage: Storage, marker: Marker, file: IO[bytes]) -> None:
    with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            storage.create(marker.object_path, data)
        except FileExistsError:
            # Ours, if an earlier try of this very attempt got so far; then it must have the same bytes.
            if not _same(storage, marker):
                raise RetryableError(
                    f"{storage.url(marker.object_path)} exists with other bytes: this attempt's name was used before. "
                    "Run the same command again; it takes a new name"
                ) from None


def _same(storage: Storage, marker: Marker) -> bool:
    if storage.size(marker.object_path) != marker.bytes:
        return False
    found = hashlib.sha256()
    for piece in storage.stream(marker.object_path, 0, marker.bytes):
        found.update(piece)
    return found.hexdigest() == marker.sha256


def _publish(storage: Storage, marker: Marker) -> Marker:
    # Any other error leaves it open whether the marker arrived, so then the tar must stay.
    try:
        storage.create(marker.path, encode_marker(marker))
        return marker
    except FileExistsError:
        winner = read_marker(storage, marker.stage, marker.unit)
        if winner.object != marker.object:
            storage.delete(marker.object_path)
        return winner


def read_samples(storage: Storage, marker: Marker, *, fields: Collection[str] | None = None) -> Iterator[Sample]:
    """The samples of a shard in order, each verified before it is handed out; with `fields`, those alone, required.

    Raises DataError naming the shard, the sample and the remedy: the object is missing, has another size, a sample
    differs from what was written, a required field is not there, or the whole has another sha256.
    """
    _check_size(storage, marker)
    whole = hashlib.sha256()
    buffer, base, index = b"", 0, 0
    for piece in storage.stream(marker.object_path, 0, marker.bytes):
        whole.update(piece)
        buffer += piece
        while index < marker.samples and marker.offsets[index][1] <= base + len(buffer):
            start, stop = marker.offsets[index]
            yield _verified(storage, marker, index, buffer[start - base : stop - base], fields)
            index += 1
        if index:
            kept = marker.offsets[index - 1][1]
            buffer, base = buffer[kept - base :], kept
    if index != marker.samples or whole.hexdigest() != marker.sha256:
        raise _bad(
            storage,
            marker,
            f"{index} of {marker.samples} samples, sha256 {whole.hexdigest()} instead of {marker.sha256}",
        )


def read_window(
    storage: Storage, marker: Marker, start: int, stop: int, *, fields: Collection[str] | None = None
) -> list[Sample]:
    """Samples [start, stop) by one ranged read, each verified. Raises as `read_samples`."""
    assert 0 <= start <= stop <= marker.samples, f"samples [{start}, {stop}) of {marker.samples}"
    if start == stop:
        return []
    first, last = marker.offsets[start][0], marker.offsets[stop - 1][1]
    try:
        data = storage.read_range(marker.object_path, first, last - first)
    except FileNotFoundError as error:
        raise _bad(storage, marker, "the object is missing") from error
    cuts = [(index, *marker.offsets[index]) for index in range(start, stop)]
    return [_verified(storage, marker, index, data[at - first : to - first], fields) for index, at, to in cuts]


def read_sample(storage: Storage, marker: Marker, index: int, *, fields: Collection[str] | None = None) -> Sample:
    """One sample by one ranged read, verified. Raises as `read_samples`."""
    return read_window(storage, marker, index, index + 1, fields=fields)[0]


def checksum(data: bytes) -> str:
    """What `Marker.checksums` holds for the bytes of one sample."""
    return hashlib.sha256(data).hexdigest()[:16]


def _check_size(storage: Storage, marker: Marker) -> None:
    try:
        size = storage.size(marker.object_path)
    except FileNotFoundError as error:
        raise _bad(storage, marker, "the object is missing") from error
    if size != marker.bytes:
        raise _bad(storage, marker, f"the object has {size} bytes instead of {marker.bytes}")


def _verified(storage: Storage, marker: Marker, index: int, data: bytes, fields: Collection[str] | None) -> Sample:
    key = marker.keys[index]
    start, stop = marker.offsets[index]
    where = f"sample {index} ({key!r}, bytes {start} to {stop})"
    if len(data) != stop - start:
        raise _bad(storage, marker, f"{where} is cut: {len(data)} bytes are there")
    try:
        samples = list(decode_samples(data))
    except TarError as error:
        raise _bad(storage, marker, f"{where} is no tar: {error}") from error
    if checksum(data) != marker.checksums[index]:
        raise _bad(storage, marker, f"{where} is not what was written: its checksum is {checksum(data)}")
    if [sample.key for sample in samples] != [key]:
        raise _bad(storage, marker, f"{where} holds {', '.join(sample.key for sample in samples) or 'nothing'}")
    return samples[0] if fields is None else _selected(storage, marker, samples[0], fields)


def _selected(storage: Storage, marker: Marker, sample: Sample, fields: Collection[str]) -> Sample:
    missing = sorted(set(fields) - set(sample.fields))
    if missing:
        has = ", ".join(sorted(sample.fields))
        raise _bad(storage, marker, f"sample {sample.key!r} has no {', '.join(map(repr, missing))}, it has {has}")
    return Sample(sample.key, {field: sample.fields[field] for field in sorted(fields)})


def _bad(storage: Storage, marker: Marker, what: str) -> DataError:
    return DataError(
        f"{storage.url(marker.object_path)}: {what}. "
        f"To have the unit made again, delete {storage.url(marker.path)} and run its stage ({marker.stage}) once more"
    )
