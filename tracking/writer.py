"""A thread between a stage and MLflow: whoever logs only appends to a buffer, and never waits, fails or dies.

While the other side is down, the writer says so once, keeps what it holds (newest first to stay when the buffer is
full), and tries again with growing pauses. Nothing in this file knows MLflow: the sink is passed in.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from tracking.params import redact

T = TypeVar("T")
_log = logging.getLogger(__name__)

BATCH: Final = 1000  # MLflow's MAX_METRICS_PER_BATCH
FIRST_PAUSE: Final = 1.0  # seconds after the first failure; doubles with each further one
LONGEST_PAUSE: Final = 60.0
CLOSING_PAUSE: Final = 1.0  # while a stage waits for its end, trying more often costs nothing
SLOW: Final = 10  # times as long as for a sink that fails, a stage waits for one that is only slow


class Point(NamedTuple):
    """One value of a metric. `step` None: seconds since the run's start, which only the sink knows."""

    key: str
    value: float
    time_ms: int
    step: int | None


class Sink(Protocol):
    """Where points go. Every method runs on the writer's thread and may raise; whatever it raises is tried again."""

    name: str  # for messages

    def open(self) -> None:
        """Called before anything else, until it succeeds once."""

    def send(self, points: Sequence[Point]) -> None:
        """Delivers at most `BATCH` points. Sending the same ones twice must do no harm."""

    def hopeless(self, error: Exception) -> bool:
        """Whether the same call would fail again for ever, so that trying again is of no use."""


@dataclass(frozen=True)
class _Job:
    """Anything but points: a picture, params, a model. Jobs run in order, and before the points."""

    what: str
    call: Callable[[], Any]
    result: Future[Any]


class Writer:
    """Delivers points and jobs to a sink from a thread of its own.

    Args:
        sink: where to.
        capacity: points (and, a hundredth of it, jobs) kept while the sink is down; then the oldest go, counted.
        period: seconds between deliveries of points.
        pause: seconds to wait after the nth failure in a row (1, 2, ...).
    """

    def __init__(
        self,
        sink: Sink,
        *,
        capacity: int = 100_000,
        period: float = 2.0,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        self._sink = sink
        self._points: deque[Point] = deque(maxlen=capacity)
        self._jobs: deque[_Job] = deque()
        self._most_jobs = max(1, capacity // 100)
        self._period = period
        self._pause = pause or backoff
        self._lock = threading.Lock()
        self._signal = threading.Event()  # a job has come, or the end
        self._closing = threading.Event()
        self._opened = False
        self._last: _Job | None = None
        self._failures = 0  # in a row
        self._refused = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._loop, name="tracking", daemon=True)
        self._thread.start()

    def add(self, points: Sequence[Point]) -> None:
        """Buffers points; returns at once."""
        with self._lock:
            self.dropped += max(0, len(self._points) + len(points) - (self._points.maxlen or 0))
            self._points.extend(points)

    def submit(self, what: str, call: Callable[[], T]) -> "Future[T | None]":
        """Buffers a job; returns at once. The future holds its result, or None if it was given up."""
        job: _Job = _Job(what, call, Future())
        with self._lock:
            full = self._closing.is_set() or len(self._jobs) >= self._most_jobs
            if not full:
                self._jobs.append(job)
        if full:
            self.dropped += 1
            job.result.set_result(None)
        self._signal.set()
        return job.result

    def close(self, seconds: float, last: Callable[[], Any] | None = None) -> int:
        """Waits for what is buffered to be delivered, and for the job `last` after everything else.

        A sink that fails gets `seconds`; one that works, but slowly (a new database that is still being set up), ten
        times that. Returns how many points and jobs were lost.
        """
        if last is not None:
            self._last = _Job("the end of the run", last, Future())
        self._closing.set()
        self._signal.set()
        ends = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < ends + (0 if self._failures else (SLOW - 1) * seconds):
            self._thread.join(0.05)
        with self._lock:
            lost = self.dropped + len(self._points) + len(self._jobs)
            for job in self._jobs:
                with suppress(Exception):  # delivered this very moment
                    job.result.set_result(None)
        if lost:
            _log.warning("%s: %d values, pictures or models were not delivered", self._sink.name, lost)
        return lost

    def _loop(self) -> None:
        while not (self._closing.is_set() and self._empty()):
            self._wait()
            try:
                self._deliver()
            except Exception as error:  # noqa: BLE001 - tracking must not end a stage, whatever MLflow raises
                self._failures += 1
                if self._failures == 1:
                    _log.warning(
                        "%s: not reached, keeping what is logged and trying again: %s", self._sink.name, _said(error)
                    )
            else:
                if self._failures:
                    _log.warning("%s: reached again", self._sink.name)
                self._failures = 0

    def _empty(self) -> bool:
        with self._lock:
            return self._opened and not self._jobs and not self._points and self._last is None

    def _wait(self) -> None:
        if not self._failures:
            self._signal.wait(0 if not self._opened else self._period)
            self._signal.clear()
        elif self._closing.is_set():
            time.sleep(min(self._pause(self._failures), CLOSING_PAUSE))
        else:
            self._closing.wait(self._pause(self._failures))

    def _deliver(self) -> None:
        if not self._opened:
            self._sink.open()
            self._opened = True
        while self._jobs:
            self._work(self._jobs[0])
            with self._lock:
                self._jobs.popleft()
        while self._points:
            self._send()
        if self._closing.is_set() and self._last is not None:
            self._work(self._last)
            self._last = None

    def _work(self, job: _Job) -> None:
        result = None
        try:
            result = job.call()
        except Exception as error:
            if not self._sink.hopeless(error):
                raise
            self._give_up(job.what, 1, error)
        with suppress(Exception):  # closed meanwhile
            job.result.set_result(result)

    def _send(self) -> None:
        with self._lock:
            batch = [self._points.popleft() for _ in range(min(BATCH, len(self._points)))]
        try:
            self._sink.send(batch)
        except Exception as error:
            if self._sink.hopeless(error):
                return self._give_up("values", len(batch), error)
            with self._lock:  # back to the front; if newer points have filled the buffer, the oldest go
                room = (self._points.maxlen or 0) - len(self._points)
                self.dropped += max(0, len(batch) - room)
                self._points.extendleft(reversed(batch[-room:] if room else []))
            raise
        return None

    def _give_up(self, what: str, count: int, error: Exception) -> None:
        with self._lock:
            self.dropped += count
        if not (what == "values" and self._refused):  # a run that someone deleted refuses every batch
            _log.warning("%s: %s could not be recorded: %s", self._sink.name, what, _said(error))
        self._refused |= what == "values"


def _said(error: Exception) -> str:
    """The first line of an error; requests and SQLAlchemy put whole URIs into it."""
    return redact((str(error) or type(error).__name__).splitlines()[0])[:500]


def backoff(failures: int) -> float:
    """Seconds to wait after the nth failure: doubling, bounded, and spread so that many stages do not come at once."""
    return random.uniform(0.5, 1.0) * min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
