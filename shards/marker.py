"""The commit marker: the `.json` beside a tar that makes its samples part of the data. Readers believe nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import ValidationError, model_validator

from config.errors import DataError
from config.section import Section
from shards.storage import Storage

_UNIT = re.compile(r"[0-9]{6,}")


class Marker(Section):
    """What was committed for one unit of one stage. Created exclusively, so there is one per unit, for good."""

    stage: str
    """Folder under the root: captions or images."""
    unit: str
    """Which part of the stage's work this is: its number, at least six digits."""
    units: int
    """How many units the stage has in all; the same in every marker of the stage."""
    object: str
    """File name of the tar, in the same folder: <unit>-<attempt>.tar."""
    sha256: str
    """Of the whole tar, in hex."""
    bytes: int
    """Size of the tar."""
    samples: int
    """How many samples it holds; 0 if all of the unit's samples were refused."""
    keys: tuple[str, ...]
    """Key of each sample, in the order of the tar."""
    offsets: tuple[tuple[int, int], ...]
    """First byte of each sample and the byte after its last, padding included: a valid tar on its own."""
    checksums: tuple[str, ...]
    """First 16 hex digits of the sha256 of each sample's bytes, so that one sample read alone can be verified too."""
    statistics: dict[str, Any]
    """What the stage counted: refused samples, seconds, diversity."""
    config: dict[str, Any]
    """The settings and models that the bytes depend on."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not _UNIT.fullmatch(self.unit):
            raise ValueError(f"unit must be at least six digits, got {self.unit!r}")
        if not int(self.unit) < self.units:
            raise ValueError(f"units must be above the unit {self.unit}, got {self.units}")
        if not {len(self.keys), len(self.offsets), len(self.checksums)} == {self.samples}:
            raise ValueError(f"keys, offsets and checksums must each have {self.samples} entries, one per sample")
        ends = [0, *(stop for _, stop in self.offsets)]
        if any(start != end for (start, _), end in zip(self.offsets, ends, strict=False)) or ends[-1] > self.bytes:
            raise ValueError(f"offsets must follow each other from 0 and stay within {self.bytes} bytes")
        return self

    @property
    def path(self) -> str:
        """Of the marker, under the root."""
        return marker_path(self.stage, self.unit)

    @property
    def object_path(self) -> str:
        """Of the tar, under the root."""
        return f"{self.stage}/{self.object}"


def marker_path(stage: str, unit: str) -> str:
    """Where the marker of a unit stands, whether it is there or not."""
    return f"{stage}/{unit}.json"


def encode_marker(marker: Marker) -> bytes:
    """The marker as it is stored."""
    return json.dumps(marker.model_dump(mode="json"), sort_keys=True).encode() + b"\n"


def read_marker(storage: Storage, stage: str, unit: str) -> Marker:
    """The marker of a committed unit. FileNotFoundError if it is not committed, DataError if it is not a marker."""
    path = marker_path(stage, unit)
    data = storage.read(path)
    try:
        marker = Marker.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{storage.url(path)} is not a commit marker: {field}: {first['msg']}. "
            "Delete it to have the unit made again, or restore it from a backup"
        ) from error
    if (marker.stage, marker.unit) != (stage, unit):
        raise DataError(
            f"{storage.url(path)} is the marker of {marker.path}; it was copied or renamed: delete it, or put it back"
        )
    return marker


def committed(storage: Storage, stage: str) -> set[str]:
    """Units that have a marker: one listing, nothing read."""
    return {name.removesuffix(".json") for name in storage.list(stage) if name.endswith(".json")}


def markers(storage: Storage, stage: str, known: Mapping[str, Marker] | None = None) -> dict[str, Marker]:
    """Unit -> marker of everything committed, in the order of the units: the only truth about a stage.

    Markers never change, so those in `known` (an earlier answer) are not read again.
    """
    known = known or {}
    units = sorted(committed(storage, stage))
    fresh = [unit for unit in units if unit not in known]
    found = dict(zip(fresh, storage.each(lambda unit: read_marker(storage, stage, unit), fresh), strict=True))
    return {unit: known[unit] if unit in known else found[unit] for unit in units}


def total_units(found: Mapping[str, Marker]) -> int | None:
    """How many units the stage has in all, as its markers say; None while there are none.

    DataError if they disagree: then two runs with different settings write under one root.
    """
    said = {marker.units: marker for marker in found.values()}
    if len(said) > 1:
        one, other = list(said.values())[:2]
        raise DataError(
            f"{one.path} says the stage has {one.units} units, {other.path} says {other.units}: two runs with "
            "different settings share this root; give each a root of its own"
        )
    return next(iter(said), None)


def dataset_digest(found: Iterable[Marker]) -> str:
    """One hex sha256 for a set of shards: of their content, whichever attempts made it and in whatever order given."""
    lines = sorted(f"{marker.stage} {marker.unit} {marker.sha256} {marker.samples}\n" for marker in found)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
