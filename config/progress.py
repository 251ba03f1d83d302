"""Progress that reads well in both places: a bar on a terminal, a plain line now and then in a log.

    for caption in progress(captions, "caption", unit="captions", total=400):
        ...

On a terminal this is tqdm. In a log, where carriage returns would glue thousands of bars into one line, it is

    caption  120/400 captions (30 %)  14.2 captions/s  00:19 left  loss=3.41
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Never, Self, TextIO, TypeVar

from tqdm import tqdm

from config.report import LATEST, Latest

T = TypeVar("T")
EVERY = 15.0  # seconds between two lines in a log


class Progress:
    """Counts `unit`s done, of `total` where that is known. A context manager; `add` from one thread only.

    `initial` units were done before this process started: they count as done and not in the speed. `every` seconds pass
    between two lines in a log; 0 writes each. `stream` is where to write, `clock` gives seconds, `latest` is told each
    count for those who ask over the network.
    """

    def __init__(
        self,
        stage: str,
        *,
        unit: str = "items",
        total: int | None = None,
        initial: int = 0,
        every: float = EVERY,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        latest: Latest = LATEST,
    ) -> None:
        self._latest = latest
        self._stage, self._unit, self._total, self._initial = stage, unit, total, initial
        self._every, self._clock, self._stream = every, clock, stream or sys.stderr
        self._done = initial
        self._note = ""
        self._started = self._written = clock()
        self._bar: tqdm[Never] | None = None
        if self._stream.isatty():
            self._bar = tqdm(desc=stage, unit=f" {unit}", total=total, initial=initial, file=self._stream, leave=True)
        self._tell({})

    def add(self, count: int = 1, **notes: object) -> None:
        """`count` more are done. `notes`, such as loss=3.41, stand at the end of the bar or line."""
        self._done += count
        self._tell(notes)
        if notes:
            self._note = "  ".join(f"{key}={_short(value)}" for key, value in notes.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(count)
        elif self._clock() - self._written >= self._every:
            self._write()

    def tell(self, **notes: object) -> None:
        """Notes for those who ask over the network alone: the line stays as it is."""
        self._tell(notes)

    def set_total(self, total: int) -> None:
        """The total became known, or grew: an upstream stage told how much there is."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def close(self) -> None:
        """Leave the finished bar, or write the last line. Calling it again does nothing."""
        if self._bar is not None:
            self._bar.close()
        elif self._written != float("inf"):
            self._write()
        self._written = float("inf")

    def line(self) -> str:
        """The state as one line of text."""
        seconds, speed = self._clock() - self._started, self._speed()
        parts = [f"{self._stage}  {self._done}{self._share()}", f"{_short(speed)} {self._unit}/s"]
        if self._total is None or self._done >= self._total:
            parts.append(f"{_clock_time(seconds)} in all")
        elif speed > 0:
            parts.append(f"{_clock_time((self._total - self._done) / speed)} left")
        return "  ".join([*parts, self._note]).rstrip()

    def _speed(self) -> float:
        seconds = self._clock() - self._started
        return max(0.0, (self._done - self._initial) / seconds) if seconds > 0 else 0.0

    def _tell(self, notes: Mapping[str, object]) -> None:
        self._latest.put(self._stage, self._done, self._total, self._speed(), notes)

    def _share(self) -> str:
        if self._total is None:
            return f" {self._unit}"
        share = f" ({100 * self._done // self._total} %)" if self._total else ""
        return f"/{self._total} {self._unit}{share}"

    def _write(self) -> None:
        self._written = self._clock()
        print(self.line(), file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def progress(
    items: Iterable[T],
    stage: str,
    *,
    unit: str = "items",
    total: int | None = None,
    initial: int = 0,
    every: float = EVERY,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield `items`, counting each when the consumer asks for the next. The arguments are Progress's."""
    with Progress(stage, unit=unit, total=total, initial=initial, every=every, stream=stream, clock=clock) as counter:
        for item in items:
            yield item
            counter.add()


def _short(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _clock_time(seconds: float) -> str:
    """`02:05`, or `1:02:05` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
