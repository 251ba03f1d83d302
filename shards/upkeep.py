"""Looking after the shards of a root: `check` reads them all back, `sweep` removes what dead attempts left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from config.errors import DataError
from shards.backend import HIDDEN, Entry
from shards.claims import folder, lease_lasts, leases, read_lease
from shards.marker import Marker, committed, marker_path, read_marker
from shards.shard import MARK_WITHIN, read_samples
from shards.storage import Storage

_TAR = re.compile(r"([0-9]+)-([A-Za-z0-9_-]+)\.tar")


@dataclass
class Report:
    """What `check` found in one stage."""

    stage: str
    good: int = 0
    """Shards that are whole."""
    samples: int = 0
    """In the good shards."""
    bytes: int = 0
    """Of the good shards' tars."""
    bad: dict[str, str] = field(default_factory=dict)
    """Unit -> what is wrong and what to do."""
    missing: list[str] = field(default_factory=list)
    """Units that no marker was found for."""

    def __str__(self) -> str:
        head = (
            f"{self.stage}: {self.good} shards good ({self.samples} samples, {self.bytes} bytes), {len(self.bad)} bad"
        )
        return "\n".join([f"{head}, {len(self.missing)} not made", *self.bad.values()])


@dataclass
class Swept:
    """Paths that `sweep` removed."""

    tars: list[str] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def check(storage: Storage, stage: str, *, fields: frozenset[str] | None = None) -> Report:
    """Read every committed shard of a stage and verify every byte; with `fields`, each sample must have those too."""
    report = Report(stage)
    units = 0
    for unit in sorted(committed(storage, stage)):
        try:
            marker = read_marker(storage, stage, unit)
            units = max(units, marker.units)
            for _ in read_samples(storage, marker, fields=fields):
                pass
        except DataError as error:
            report.bad[unit] = str(error)
            continue
        except FileNotFoundError:  # the marker was deleted since: to have the unit made again
            continue
        report.good += 1
        report.samples += marker.samples
        report.bytes += marker.bytes
    made = set(report.bad) | committed(storage, stage)
    report.missing = [unit for unit in (f"{number:06d}" for number in range(units)) if unit not in made]
    return report


def sweep(storage: Storage, stage: str, *, older: float = 2 * MARK_WITHIN) -> Swept:
    """Remove tars that no marker names and that none can name any more, expired leases of finished units, and work in
    progress older than `older` seconds. Safe while workers run; readers see no difference.

    Where a unit is committed, every other tar of it is dead. Where it is not, a tar is dead when no live lease is on
    the unit and it is older than `older`: `commit` does not mark a tar that waited for half as long.
    """
    swept = Swept()
    now = storage.now()
    live = _live_units(storage, stage, now, swept)
    winners: dict[str, Marker | None] = {}
    for entry in storage.entries(stage, hidden=True):
        path = f"{stage}/{entry.name}"
        if entry.name.startswith(HIDDEN) and now - entry.modified > older:
            _remove(storage, path, swept.hidden)
        elif match := _TAR.fullmatch(entry.name):
            unit = match[1]
            if unit not in winners:
                winners[unit] = _marker(storage, stage, unit)
            if _is_dead(entry, winners[unit], unit in live, now - entry.modified > older):
                # Looked up again at the last moment: a marker may have come since the listing.
                latest = _marker(storage, stage, unit)
                if latest is None or latest.object != entry.name:
                    _remove(storage, path, swept.tars)
    return swept


def _is_dead(tar: Entry, winner: Marker | None, live: bool, old: bool) -> bool:
    if winner is not None:
        return winner.object != tar.name
    return old and not live


def _live_units(storage: Storage, stage: str, now: float, swept: Swept) -> set[str]:
    """Units with a lease that has not expired; expired leases of committed units are removed on the way."""
    live: set[str] = set()
    for unit, found in leases(storage, stage).items():
        for one in found:
            record = read_lease(storage, one.path)
            if now - one.modified <= lease_lasts(storage, record, MARK_WITHIN):
                live.add(unit)
            elif storage.exists(marker_path(stage, unit)):
                _remove(storage, one.path, swept.leases)
    for entry in storage.entries(folder(stage), hidden=True):
        if entry.name.startswith(HIDDEN) and now - entry.modified > MARK_WITHIN:
            _remove(storage, f"{folder(stage)}/{entry.name}", swept.hidden)
    return live


def _marker(storage: Storage, stage: str, unit: str) -> Marker | None:
    try:
        return read_marker(storage, stage, unit)
    except FileNotFoundError:
        return None


def _remove(storage: Storage, path: str, removed: list[str]) -> None:
    storage.delete(path)
    removed.append(path)
