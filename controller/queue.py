"""Keys of what is to be looked at: each at most once at a time, later if it failed.

* A key that is added while it waits is in the queue once; one that is added while it is worked on comes again after.
* After a failure it comes again later, twice as late each time; a success forgets that.
"""

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_BACKOFF: Final = (0.5, 60.0)  # seconds: the first and the longest


class WorkQueue(Generic[K]):
    """For any number of threads. `clock` gives seconds; `waited` is told how long a key was ready."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, waited: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self._clock, self._waited = clock, waited
        self._changed = threading.Condition()
        self._ready: dict[K, float] = {}  # since when; in order, without doubles
        self._working: set[K] = set()
        self._again: dict[K, float] = {}  # since when
        self._later: list[tuple[float, int, K]] = []
        self._planned: dict[K, float] = {}  # when each comes; what else of it stands in `_later` is void
        self._failures: dict[K, int] = {}
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._ready)

    def add(self, key: K) -> None:
        """To be looked at as soon as somebody has time."""
        with self._changed:
            self._add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """To be looked at in so many seconds, or before; a look says itself when the next is due.

        So a key is planned once, however often it is looked at until then.
        """
        with self._changed:
            when = self._clock() + seconds
            if self._planned.get(key, float("inf")) <= when:
                return
            self._count += 1
            self._planned[key] = when
            heapq.heappush(self._later, (when, self._count, key))
            self._changed.notify()

    def retry(self, key: K) -> None:
        """It failed: later, and the later the more often."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, min(_BACKOFF[0] * 2 ** min(failures - 1, 20), _BACKOFF[1]))

    def forget(self, key: K) -> None:
        """It succeeded."""
        with self._changed:
            self._failures.pop(key, None)

    def get(self) -> K | None:
        """The next key, as soon as there is one; nobody else gets it until it is done. None: the queue is closed."""
        with self._changed:
            while not self._closed:
                wait = self._due()
                if self._ready:
                    key = next(iter(self._ready))
                    since = self._ready.pop(key)
                    self._working.add(key)
                    break
                self._changed.wait(wait)
            else:
                return None
        self._waited(self._clock() - since)  # unlocked: who counts may ask for the length
        return key

    def done(self, key: K) -> None:
        """Whoever got it has finished with it."""
        with self._changed:
            self._working.discard(key)
            if key in self._again:
                self._add(key, self._again.pop(key))

    def close(self) -> None:
        """Nobody gets anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _add(self, key: K, since: float | None = None) -> None:
        since = self._clock() if since is None else since
        if key in self._working:
            self._again.setdefault(key, since)
        elif key not in self._ready:
            self._ready[key] = since
            self._changed.notify()

    def _due(self) -> float | None:
        """Makes ready what is due; seconds until the next is, None if nothing is to come."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            when, _, key = heapq.heappop(self._later)
            if self._planned.get(key) == when:
                del self._planned[key]
                self._add(key)
        return self._later[0][0] - now if self._later else None
