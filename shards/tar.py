"""Samples in ustar, both ways: `encode_sample` and `decode_samples`. Plain WebDataset: one member per field.

    {key}.{field}   512 bytes of header, then the data padded to 512
    ...             the members of a sample stand together, fields in alphabetical order
    1024 zero bytes at the end

The bytes depend on the samples alone (modification time 0, no owner), so the same samples give the same sha256. This is
not `tarfile` because reading must know where each sample lies and must refuse what tarfile takes for a normal end: a
stream cut between two members.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
"""What a complete tar ends with."""

# WebDataset splits a name at its first dot, so a key has none; a field may ("0.jpg").
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_FIELD = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_NAME = 100
_MAX_SIZE = 8**11 - 1


@dataclass(frozen=True)
class Sample:
    """One sample of a shard: `key` names it, `fields` maps e.g. `0.jpg`, `txt`, `json` to their bytes."""

    key: str
    fields: dict[str, bytes]


class TarError(ValueError):
    """The bytes are not what this module writes. Says where, in bytes from the start of what was parsed."""


def encode_sample(sample: Sample) -> bytes:
    """The members of one sample. ValueError if its names or sizes do not fit the format."""
    if not _KEY.fullmatch(sample.key):
        raise ValueError(f"sample key {sample.key!r} must be letters, digits, '-' and '_' (a dot would end it)")
    if not sample.fields:
        raise ValueError(f"sample {sample.key!r} has no fields")
    parts: list[bytes] = []
    for field in sorted(sample.fields):
        if not _FIELD.fullmatch(field):
            raise ValueError(f"sample {sample.key!r}: field {field!r} must look like 'txt' or '0.jpg'")
        data = sample.fields[field]
        parts += [_header(f"{sample.key}.{field}", len(data)), data, bytes(-len(data) % BLOCK)]
    return b"".join(parts)


def decode_samples(data: bytes) -> Iterator[Sample]:
    """Every sample of a whole tar or of a run of samples cut out of one."""
    key, fields = "", dict[str, bytes]()
    at = 0
    while at < len(data):
        if data[at : at + BLOCK] == bytes(BLOCK):
            if any(data[at:]):
                raise TarError(f"an end mark at byte {at} with more data behind it")
            break
        name, size = _parse_header(data, at)
        start, stop = at + BLOCK, at + BLOCK + size
        if stop > len(data):
            raise TarError(f"member {name!r} at byte {at} should have {size} bytes and has {len(data) - start}")
        member_key, _, field = name.partition(".")
        if member_key != key and fields:
            yield Sample(key, fields)
            fields = {}
        if field in fields:
            raise TarError(f"member {name!r} stands twice, again at byte {at}")
        key, fields[field] = member_key, data[start:stop]
        at = stop + -size % BLOCK
    if fields:
        yield Sample(key, fields)


def _header(name: str, size: int) -> bytes:
    """A ustar header (POSIX.1-1988): name, mode, uid, gid, size, mtime, checksum, type, magic; the rest is zero."""
    if len(name) > _MAX_NAME:
        raise ValueError(f"member name {name!r} is longer than {_MAX_NAME} characters")
    if size > _MAX_SIZE:
        raise ValueError(f"member {name!r} has {size} bytes, more than the {_MAX_SIZE} that ustar can say")
    fields = b"".join(
        [
            name.encode("ascii").ljust(_MAX_NAME, b"\0"),
            b"0000644\0" + b"0000000\0" * 2,
            b"%011o\0" % size + b"%011o\0" % 0,
            b" " * 8,  # the checksum counts itself as spaces
            b"0".ljust(101, b"\0") + b"ustar\x0000",
        ]
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _parse_header(data: bytes, at: int) -> tuple[str, int]:
    """(name, size) of the member whose header stands at byte `at`."""
    header = data[at : at + BLOCK]
    if len(header) < BLOCK:
        raise TarError(f"cut inside the header at byte {at}")
    try:
        checksum = int(header[148:154], 8)
        size = int(header[124:135], 8)
        name = header[:_MAX_NAME].rstrip(b"\0").decode("ascii")
    except ValueError as error:
        raise TarError(f"no header at byte {at}") from error
    if checksum != sum(header) - sum(header[148:156]) + 8 * 32:
        raise TarError(f"header at byte {at} fails its checksum")
    return name, size
