"""Logging never waits, fails or loses silently, whatever happens on the other side."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from tracking.writer import BATCH, Point, Writer, backoff


class Memory:
    """A sink that fails as told: `failures` errors in all, each either passing or hopeless."""

    name = "memory"

    def __init__(
        self, failures: int = 0, *, lasting: bool = False, before: Callable[[], object] = lambda: None
    ) -> None:
        self.failures, self.lasting, self.before = failures, lasting, before
        self.opened, self.points, self.batches = 0, list[Point](), list[int]()

    def open(self) -> None:
        self.before()
        self.opened += 1
        if not self.lasting:
            self.fail()

    def send(self, points: Sequence[Point]) -> None:
        self.fail()
        self.points += points
        self.batches.append(len(points))

    def hopeless(self, error: Exception) -> bool:
        return self.lasting

    def fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("down")


def points(count: int, start: int = 0) -> list[Point]:
    return [Point("loss", float(i), 0, i) for i in range(start, start + count)]


def writer(sink: Memory, capacity: int = 10_000) -> Writer:
    return Writer(sink, capacity=capacity, period=0.01, pause=lambda _: 0.01)


def test_everything_arrives_in_order_and_in_batches_mlflow_takes() -> None:
    sink = Memory()
    w = writer(sink)
    w.add(points(2 * BATCH + 5))
    assert w.close(5) == 0
    assert sink.points == points(2 * BATCH + 5)
    assert max(sink.batches) <= BATCH


def test_an_outage_loses_nothing_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = Memory(failures=5)
    w = writer(sink)
    w.add(points(10))
    w.submit("a picture", lambda: sink.fail())
    while sink.failures:
        time.sleep(0.01)
    w.add(points(10, start=10))
    assert w.close(5) == 0
    assert sink.points == points(20)
    assert [r.message.split(",")[0] for r in caplog.records] == ["memory: not reached", "memory: reached again"]


def test_logging_does_not_wait_for_a_sink_that_hangs() -> None:
    release = threading.Event()
    w = writer(Memory(before=release.wait))
    started = time.monotonic()
    for i in range(1000):
        w.add(points(1, start=i))
    assert time.monotonic() - started < 1
    assert w.close(0.05) == 1000, "the end does not wait either, and says what is lost"
    release.set()


def test_a_slow_sink_gets_more_time_than_one_that_fails() -> None:
    slow = Memory(before=lambda: time.sleep(0.5))
    w = writer(slow)
    w.add(points(10))
    assert w.close(0.2) == 0
    w = writer(Memory(failures=10_000))
    w.add(points(10))
    started = time.monotonic()
    assert w.close(0.2) == 10
    assert time.monotonic() - started < 1.5


def test_a_full_buffer_keeps_the_newest_and_counts_the_rest() -> None:
    release = threading.Event()
    sink = Memory(before=release.wait)
    w = writer(sink, capacity=100)
    w.add(points(250))
    release.set()
    assert w.close(5) == 150
    assert sink.points == points(100, start=150)


def test_a_full_buffer_counts_right_when_a_batch_comes_back() -> None:
    gate, sent = threading.Event(), threading.Event()

    class Gated(Memory):
        def send(self, points: Sequence[Point]) -> None:
            sent.set()
            gate.wait(5)
            super().send(points)

    sink = Gated()
    w = writer(sink, capacity=100)
    w.add(points(60))
    sent.wait(5)
    sink.failures = 1
    w.add(points(60, start=60))  # the 60 on their way fail, and only 40 fit again
    gate.set()
    assert w.close(5) == 20
    assert sink.points == points(100, start=20)


def test_what_can_never_succeed_does_not_hold_up_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    sink = Memory(failures=1, lasting=True)
    w = writer(sink)
    bad = w.submit("the model", lambda: sink.fail())
    good = w.submit("a picture", lambda: "stored")
    assert bad.result(5) is None
    assert good.result(5) == "stored"
    assert w.close(5) == 1
    assert "the model could not be recorded: down" in caplog.text


def test_a_job_waiting_at_the_end_is_answered() -> None:
    release = threading.Event()
    w = writer(Memory(before=release.wait))
    job = w.submit("the model", lambda: "stored")
    assert w.close(0.01) == 1
    assert job.result(1) is None
    release.set()


def test_pauses_grow_to_a_minute_and_differ() -> None:
    for failures, longest in [(1, 1), (2, 2), (5, 16), (7, 60), (1000, 60)]:
        pauses = [backoff(failures) for _ in range(50)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
