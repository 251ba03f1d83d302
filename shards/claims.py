"""Who works on which unit, decided by the storage alone: any number of workers may come, go and be killed.

A unit is free if `<root>/leases/<stage>/` has no `<unit>.<generation>.json`. It is claimed by creating generation 0
exclusively, held by renewing, and taken over by creating generation n + 1 once n has expired or its process is dead.
Times are the storage's: workers' clocks may be wrong.
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import time
from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from config import Stopped
from shards.holder import Holder, is_dead, this_process
from shards.lease import Lease, LeaseRecord, encode_lease
from shards.marker import marker_path
from shards.storage import Storage

_log = logging.getLogger(__name__)

_NAME = re.compile(r"([0-9]+)\.([0-9]+)\.json")
_CLOCK_LASTS = 60.0  # seconds between two looks at the storage's clock


@dataclass(frozen=True)
class _Seen:
    """A lease as a listing shows it."""

    generation: int
    path: str
    modified: float


class Claims:
    """The claims of one worker on the units of one stage.

    `worker` is a name for people. `ttl`: seconds without renewal after which a worker counts as dead; three times a
    renewal's longest delay (60 s is plenty); a killed worker's unit waits that long, except on its own machine,
    where its death is seen at once.
    """

    def __init__(
        self,
        storage: Storage,
        stage: str,
        *,
        worker: str,
        ttl: float,
        clock: Callable[[], float] = time.time,
        dead: Callable[[Holder], bool] = is_dead,
    ) -> None:
        assert ttl > 0, f"ttl must be above 0 seconds, got {ttl}"
        self.storage = storage
        self.stage = stage
        self.worker = worker
        self.ttl = ttl
        self._clock = clock
        self._dead = dead
        self._holder = this_process()
        self._ahead: tuple[float, float] | None = None  # our clock when compared, seconds the storage's is ahead
        self._records: dict[str, LeaseRecord | None] = {}

    def acquire(self, unit: str) -> Lease | None:
        """The lease on a unit, or None if another holds it. Whether the unit still needs work is another question."""
        return self._try(unit, leases(self.storage, self.stage).get(unit, ()))

    def acquire_any(self, units: Iterable[str]) -> Lease | None:
        """The lease on one of the units that can be had, or None: free ones first, in order, then abandoned ones."""
        seen = leases(self.storage, self.stage)
        self._records = {path: one for path, one in self._records.items() if path in _paths(seen)}
        wanted = list(units)
        for group in ([unit for unit in wanted if unit not in seen], [unit for unit in wanted if unit in seen]):
            while group:
                lease = self._try(group[0], seen.get(group[0], ()))
                if lease is not None:
                    return lease
                del group[0]
                if group[0:1] and group[0] not in seen:
                    random.shuffle(group)  # beaten to it: the others want the next in order as well
        return None

    def clear(self, units: Collection[str]) -> None:
        """Remove every lease on these units, which are committed: whoever was killed after its commit left one."""
        for unit, found in leases(self.storage, self.stage).items():
            for one in found if unit in units else ():
                self.storage.delete(one.path)

    def is_committed(self, unit: str) -> bool:
        """Whether the unit has its marker."""
        return self.storage.exists(marker_path(self.stage, unit))

    def _try(self, unit: str, seen: Iterable[_Seen]) -> Lease | None:
        seen = sorted(seen, key=lambda one: one.generation)
        if seen and not self._over(seen[-1]):
            return None
        record = self._record(unit, seen[-1].generation + 1 if seen else 0)
        path = f"{folder(self.stage)}/{unit}.{record.generation}.json"
        try:
            self.storage.create(path, encode_lease(record))
            found = leases(self.storage, self.stage).get(unit, ())
        except FileExistsError:
            return None
        except (Stopped, KeyboardInterrupt):
            # In the middle: nobody would give it back, and others would wait until it expires.
            if read_lease(self.storage, path) == record:
                self.storage.delete(path)
            raise
        # Look again: if the former holder renewed after all, or the unit changed hands while we looked, step back.
        others = [one for one in found if one.path != path]
        if set(others) != set(seen):
            self.storage.delete(path)
            return None
        for one in seen:
            self.storage.delete(one.path)
            _log.info("took over unit %s: generation %d had ended", unit, one.generation)
        return Lease(self.storage, path, record, lambda: self._overtaken(record), self._clock)

    def _record(self, unit: str, generation: int) -> LeaseRecord:
        token = secrets.token_hex(16)
        return LeaseRecord(
            unit=unit,
            generation=generation,
            attempt=f"g{generation}-{token[:12]}",
            token=token,
            worker=self.worker,
            host=self._holder.host,
            pid=self._holder.pid,
            started=self._holder.started,
            ttl=self.ttl,
        )

    def _overtaken(self, record: LeaseRecord) -> bool:
        seen = leases(self.storage, self.stage).get(record.unit, ())
        return any(one.generation > record.generation for one in seen)

    def _over(self, seen: _Seen) -> bool:
        """Whether the lease has ended: its process is dead, or it was not renewed in time."""
        if seen.path not in self._records:
            self._records[seen.path] = read_lease(self.storage, seen.path)
        record = self._records[seen.path]
        if record is not None and self._dead(_holder(record)):
            # A name is used again once its lease is released: what we remember may be of an earlier lease.
            return read_lease(self.storage, seen.path) == record
        lasts = lease_lasts(self.storage, record, self.ttl)
        if self._storage_time() - seen.modified <= lasts:
            return False
        try:  # our estimate says so; now the storage itself
            return self.storage.now() - self.storage.modified(seen.path) > lasts
        except FileNotFoundError:
            return False  # just released; the next look finds it free

    def _storage_time(self) -> float:
        now = self._clock()
        if self._ahead is None or not 0 <= now - self._ahead[0] < _CLOCK_LASTS:
            self._ahead = (now, self.storage.now() - now)
        return now + self._ahead[1]


def claim_units(
    claims: Claims,
    todo: Callable[[], Iterable[str]],
    done: Callable[[], set[str]],
    total: Callable[[], int | None],
    poll: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Lease, None, None]:
    """Leases, one after another, until all `total` units are committed, whoever commits them.

    `todo` gives the units that can be worked on now, `done` those committed, `total` how many there will be (None while
    unknown). While there is nothing to claim it looks again every `poll` seconds: new units appear, leases expire.
    A lease renews itself while the caller works and is released when the caller asks for the next.
    """
    while True:
        finished = done()
        count = total()
        if count is not None and len(finished) >= count:
            claims.clear(finished)
            return
        lease = claims.acquire_any(unit for unit in todo() if unit not in finished)
        if lease is None:
            sleep(poll * random.uniform(0.5, 1.0))
            continue
        with lease:
            if not claims.is_committed(lease.unit):
                yield lease


def folder(stage: str) -> str:
    """Where the leases of a stage are."""
    return f"leases/{stage}"


def leases(storage: Storage, stage: str) -> dict[str, list[_Seen]]:
    """Unit -> its leases, from one listing."""
    found: dict[str, list[_Seen]] = {}
    for entry in storage.entries(folder(stage)):
        if match := _NAME.fullmatch(entry.name):
            seen = _Seen(int(match[2]), f"{folder(stage)}/{entry.name}", entry.modified)
            found.setdefault(match[1], []).append(seen)
    return found


def read_lease(storage: Storage, path: str) -> LeaseRecord | None:
    """What stands in a lease; None if it is gone or is no lease (then it can only expire)."""
    try:
        return LeaseRecord.model_validate_json(storage.read(path))
    except (FileNotFoundError, ValidationError):
        return None


def lease_lasts(storage: Storage, record: LeaseRecord | None, ttl: float) -> float:
    """Seconds after its last renewal at which a lease has surely expired; object stores tell times in whole seconds."""
    return (record.ttl if record else ttl) + (1.0 if storage.backend.remote else 0.0)


def _holder(record: LeaseRecord) -> Holder:
    return Holder(record.host, record.pid, record.started)


def _paths(seen: dict[str, list[_Seen]]) -> set[str]:
    return {one.path for found in seen.values() for one in found}
