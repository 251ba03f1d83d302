"""Progress is a bar on a terminal and a line now and then in a log."""

import io

import pytest

from config.progress import Progress, progress


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_so_many_seconds_and_one_at_the_end() -> None:
    log, clock = io.StringIO(), Clock()
    with Progress("caption", unit="captions", total=100, every=10, stream=log, clock=clock) as counter:
        for _ in range(5):
            clock.now += 4
            counter.add(10, loss=3.4142)
    assert log.getvalue().splitlines() == [
        "caption  30/100 captions (30 %)  2.5 captions/s  00:28 left  loss=3.41",
        "caption  50/100 captions (50 %)  2.5 captions/s  00:20 left  loss=3.41",
    ]


def test_what_was_done_before_counts_as_done_but_not_in_the_speed() -> None:
    log, clock = io.StringIO(), Clock()
    with Progress("image", total=100, initial=90, stream=log, clock=clock) as counter:
        clock.now = 10
        counter.add(10)
    assert log.getvalue() == "image  100/100 items (100 %)  1 items/s  00:10 in all\n"


@pytest.mark.parametrize(("total", "shown"), [(None, "shard  3 shards"), (0, "shard  3/0 shards  ")])
def test_a_total_may_be_unknown_or_nothing(total: int | None, shown: str) -> None:
    log = io.StringIO()
    with Progress("shard", unit="shards", total=total, stream=log, clock=Clock()) as counter:
        counter.add(3)
    assert log.getvalue().startswith(shown)


def test_the_total_may_become_known_later() -> None:
    log, clock = io.StringIO(), Clock()
    with Progress("shard", unit="shards", stream=log, clock=clock) as counter:
        counter.set_total(4)
        clock.now = 4000
        counter.add()
        assert counter.line() == "shard  1/4 shards (25 %)  0.00025 shards/s  3:20:00 left"


def test_iterating_counts_every_item() -> None:
    log = io.StringIO()
    assert list(progress(iter("abc"), "letter", unit="letters", total=3, stream=log)) == ["a", "b", "c"]
    assert log.getvalue().startswith("letter  3/3 letters (100 %)")


def test_an_error_inside_still_leaves_the_last_line() -> None:
    log = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress("step", stream=log) as counter:
        counter.add(1 // 0)
    assert log.getvalue().startswith("step  0 items")


def test_closing_twice_writes_once() -> None:
    log = io.StringIO()
    counter = Progress("step", stream=log)
    counter.close()
    counter.close()
    assert len(log.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with Progress("caption", unit="captions", total=2, stream=terminal) as counter:
        counter.set_total(3)
        counter.add(3, loss=1.5)
    assert "\r" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "loss=1.5" in terminal.getvalue()
