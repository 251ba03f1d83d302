"""A lease: the right to work on one unit for a while, kept by renewing it, lost by not doing so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from config.errors import ReverieError
from config.section import Section
from shards.storage import Storage

_log = logging.getLogger(__name__)


class LeaseRecord(Section):
    """What stands in `<root>/leases/<stage>/<unit>.<generation>.json`. Never changes: renewing moves its time."""

    unit: str
    """The unit that is held."""
    generation: int
    """How often the unit changed hands before; the highest generation there is holds."""
    attempt: str
    """Names the tar of this holder; nobody else's."""
    token: str
    """Random, so that a holder knows its own lease from another's."""
    worker: str
    """The worker's name, for people."""
    host: str
    """The machine, its start and its process namespace: who shares them can see whether the process lives."""
    pid: int
    """The process."""
    started: str
    """When the process began: a process number is used again."""
    ttl: float
    """Seconds without renewal after which anyone may take over."""


class Lease:
    """Held from `Claims.acquire` on. As a context manager it renews itself in a thread, and is released at the end.

    Losing a lease costs time, never data: another attempt may do the same work, and the first to commit wins.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        record: LeaseRecord,
        overtaken: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.unit = record.unit
        self.generation = record.generation
        self.attempt = record.attempt
        self.ttl = record.ttl
        self._storage = storage
        self._path = path
        self._body = encode_lease(record)
        self._overtaken = overtaken
        self._clock = clock
        self._renewed = clock()
        self._gone = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Lease(unit={self.unit!r}, generation={self.generation}, attempt={self.attempt!r}, lost={self.lost})"

    @property
    def lost(self) -> bool:
        """Whether another may hold the unit: the lease was taken, or could not be renewed for as long as it lasts."""
        return self._gone or self._clock() - self._renewed > self.ttl

    def renew(self) -> bool:
        """Hold on for another `ttl` seconds; False if the lease is lost for good. Raises as Storage does."""
        if self._gone:
            return False
        before = self._clock()
        # First touch, then look for a later generation. Whoever takes over first creates that, then looks whether this
        # one was touched. So at least one of the two sees the other, and no two hold the unit.
        if not self._storage.touch(self._path, self._body) or self._overtaken():
            self._gone = True
            _log.warning("lost the lease on unit %s: another worker took it over", self.unit)
            return False
        self._renewed = before
        return True

    def start(self) -> None:
        """Renew in a thread, three times per `ttl`, until `release`."""
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._keep, name=f"lease-{self.unit}", daemon=True)
            self._thread.start()

    def release(self) -> None:
        """Give the unit back: stop renewing and remove the lease. What fails here only has to expire."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._gone:
            return
        self._gone = True
        try:
            if self._storage.read(self._path) == self._body:
                self._storage.delete(self._path)
        except FileNotFoundError:
            pass  # the stage was finished and cleared
        except ReverieError as error:
            _log.warning("could not remove the lease %s, it will expire: %s", self._path, error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _keep(self) -> None:
        while not self._stop.wait(self.ttl / 3):
            try:
                if not self.renew():
                    return
            except ReverieError as error:
                _log.warning("could not renew the lease on unit %s, trying again: %s", self.unit, error)


def encode_lease(record: LeaseRecord) -> bytes:
    """The lease as it is stored."""
    return record.model_dump_json().encode()
