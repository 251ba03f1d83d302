"""What is in the cluster, kept up to date by one list and one watch, and shared by all who ask.

    list ──▶ store ──▶ watch from the list's resourceVersion ──events──▶ store
      ▲                   │ 410 Gone: the version is too old
      └───────────────────┘ anything else: a pause, and on from the last version

Objects are kept by what they belong to (`key`), because that is how they are asked for, and cut down to what is read
(`trim`), because there may be twenty thousand. A change of what is cut off is no change.

`kubernetes.informer` of the client does the same with models, in one answer however long, and without a bound on
silence unless it lists everything anew for that; so it is not used.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from config import RetryableError
from controller.api import Api, ApiError, Json

_log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 240  # of one watch; the server would end it within an hour anyway
_SHORT: Final = 1.0  # seconds: a watch that brings nothing and is shorter is a failure, not to be tried again at once
_PAUSES: Final = (1.0, 30.0)  # seconds after a failure: the first and the longest


class Informer:
    """Objects at a path. `changed` is told the key of whatever came, went or is new, and must return at once."""

    def __init__(
        self,
        api: Api,
        path: str,
        *,
        key: Callable[[Json], str | None],
        changed: Callable[[str], None],
        selector: str = "",
        trim: Callable[[Json], Json] = lambda one: one,
        seconds: int = WATCH_SECONDS,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._api, self._path, self._selector, self._seconds = api, path, selector, seconds
        self._key, self._changed, self._trim = key, changed, trim
        self._store: dict[str, dict[str, Json]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._version: str | None = None
        self.synced = threading.Event()
        """Set once everything was listed."""

    def get(self, key: str) -> list[Json]:
        """The objects that belong to a key."""
        with self._lock:
            return list(self._store.get(key, {}).values())

    def keys(self) -> list[str]:
        """All keys to which something belongs."""
        with self._lock:
            return list(self._store)

    def start(self) -> None:
        """Lists and watches in a thread of its own, until `stop`."""
        threading.Thread(target=self.run, name=f"watch {self._path}", daemon=True).start()

    def stop(self) -> None:
        """Ends it within one event or one watch; nobody waits for that."""
        self._stop.set()

    def run(self) -> None:
        """Lists and watches until `stop`."""
        pause = _PAUSES[0]
        while not self._stop.is_set():
            try:
                self.once()
                pause = _PAUSES[0]
            except RetryableError as error:
                if isinstance(error, ApiError) and error.status == 410:
                    self._version = None
                    continue
                _log.warning("%s; again in %.0f s", error, pause)
                self._sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _PAUSES[1])

    def once(self) -> None:
        """One watch, with a list before it if there is no version to go on from."""
        if self._version is None:
            items, version = self._api.list(self._path, self._selector)
            self._replace(items)
            self._version = version
            self.synced.set()
        began, events = time.monotonic(), 0
        for event in self._api.watch(self._path, self._version, self._seconds, self._selector):
            self._take(event)
            events += 1
            if self._stop.is_set():
                return
        if not events and time.monotonic() - began < _SHORT and not self._stop.is_set():
            raise RetryableError(f"the watch of {self._path} ended at once")

    def _take(self, event: Json) -> None:
        one = event["object"]
        if event["type"] == "ERROR":
            raise ApiError(int(one.get("code", 500)), str(one.get("message", "")))
        self._version = one["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return
        key = self._key(one)
        if key is None:
            return
        name = _name(one)
        with self._lock:
            if event["type"] == "DELETED":
                self._store.get(key, {}).pop(name, None)
                if not self._store.get(key):
                    self._store.pop(key, None)
            else:
                of_key, trimmed = self._store.setdefault(key, {}), self._trim(one)
                if of_key.get(name) == trimmed:
                    return
                of_key[name] = trimmed
        self._changed(key)

    def _replace(self, items: list[Json]) -> None:
        """What is there now; what was there before and is not, is gone."""
        store: dict[str, dict[str, Json]] = {}
        for one in items:
            if (key := self._key(one)) is not None:
                store.setdefault(key, {})[_name(one)] = self._trim(one)
        with self._lock:
            before, self._store = self._store, store
        for key in before.keys() | store.keys():
            if before.get(key) != store.get(key):
                self._changed(key)


def _name(one: Mapping[str, Json]) -> str:
    return f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
