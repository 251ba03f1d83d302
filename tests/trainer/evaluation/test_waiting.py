"""Evaluation waits for other stages in the open, and not for ever."""

import pytest

from config import DataError, RetryableError
from trainer.evaluation.waiting import NotYet, until


class World:
    """A clock that only sleeping moves, and something that comes after a while."""

    def __init__(self, comes: float) -> None:
        self.comes, self.now, self.said = comes, 0.0, list[str]()

    def look(self) -> str:
        if self.now < self.comes:
            raise NotYet(f"checkpoint at {self.now:g}")
        return "there"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def until(self, seconds: float) -> str:
        return until(self.look, seconds, clock=lambda: self.now, sleep=self.sleep, say=self.said.append)


def test_what_is_there_is_taken_at_once() -> None:
    world = World(comes=0)
    assert world.until(0) == world.until(100) == "there"
    assert world.now == 0


def test_what_comes_is_waited_for_with_a_line_now_and_then() -> None:
    world = World(comes=60)
    assert world.until(3600) == "there"
    assert 60 <= world.now < 63
    assert 4 <= len(world.said) <= 5
    assert world.said[0] == "evaluation  waiting for checkpoint at 0"


def test_without_waiting_what_is_missing_is_an_error_at_once() -> None:
    world = World(comes=1)
    with pytest.raises(DataError, match="checkpoint at 0"):
        world.until(0)
    assert world.said == []


def test_waiting_in_vain_ends_as_an_error_worth_another_try() -> None:
    with pytest.raises(RetryableError, match=r"waited 10 s \(wait\): checkpoint at 10"):
        World(comes=11).until(10)
