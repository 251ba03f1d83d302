"""The queue of what is to be looked at."""

import threading

import pytest

from controller.queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_that_is_added_twice_comes_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [queue.get(), queue.get()] == ["a", "b"]
    assert len(queue) == 0


def test_a_key_that_is_added_while_it_is_worked_on_comes_again_after_and_never_beside() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert queue.get() == "a"


def test_a_key_comes_when_its_time_has_come() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("late", 5)
    queue.add("now")
    assert queue.get() == "now"
    clock.now = 5.0
    assert queue.get() == "late"


def test_a_key_is_planned_once_however_often_it_asks_and_comes_at_the_earliest_time() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for _ in range(1000):
        queue.add_after("a", 3600)
    assert len(queue._later) == 1
    queue.add_after("a", 5)
    clock.now = 5.0
    assert queue.get() == "a"
    queue.done("a")
    clock.now = 3600.0
    queue.add("b")
    assert queue.get() == "b"
    assert len(queue) == 0, "what was planned before the earlier look is void"


def test_failures_come_later_each_time_and_a_success_forgets_them() -> None:
    """0.5, 1, 2 and 4 s; then 0.5 s again."""
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for wait in (0.5, 1.0, 2.0, 4.0):
        queue.retry("a")
        clock.now += wait * 0.99
        assert queue._due() is not None
        assert len(queue) == 0
        clock.now += wait * 0.011
        assert queue.get() == "a"
        queue.done("a")
    queue.forget("a")
    queue.retry("a")
    clock.now += 0.5
    assert queue.get() == "a"


def test_a_closed_queue_lets_every_worker_end() -> None:
    queue: WorkQueue[str] = WorkQueue()
    got: list[str | None] = []
    threads = [threading.Thread(target=lambda: got.append(queue.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.close()
    for thread in threads:
        thread.join(10)
    assert got == [None, None, None]


def test_how_long_a_key_waited_counts_from_its_first_change_also_of_one_that_came_while_it_was_worked_on() -> None:
    clock, waits = Clock(), list[float]()
    queue: WorkQueue[str] = WorkQueue(clock, waits.append)
    queue.add("a")
    clock.now = 1.0
    queue.add("a")
    clock.now = 3.0
    queue.get()
    queue.add("a")
    clock.now = 5.0
    queue.add("a")
    queue.done("a")
    clock.now = 7.0
    queue.get()
    assert waits == [3.0, 4.0]


@pytest.mark.timeout(60)
def test_who_is_told_how_long_a_key_waited_may_ask_for_the_length() -> None:
    lengths = list[int]()
    queue: WorkQueue[str] = WorkQueue(waited=lambda seconds: lengths.append(len(queue)))
    queue.add("a")
    queue.get()
    assert lengths == [0]
