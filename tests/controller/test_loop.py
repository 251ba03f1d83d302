"""The loop, where it takes an API server only to count what it is asked."""

from typing import Any

from controller.config import ControllerConfig
from controller.loop import Controller
from controller.metrics import Metrics
from controller.observe import key_of
from tests.controller.objects import Json, reverie


class Written:
    """An API server that takes every write and gives it a resourceVersion, the same if `same`."""

    def __init__(self, same: bool) -> None:
        self.same, self.writes = same, 0

    def apply(self, path: str, body: Json) -> Json:
        self.writes += 1
        return {"metadata": {"resourceVersion": "1" if self.same else str(1 + self.writes)}}


def controller(same: bool = False) -> tuple[Controller, Written]:
    """One that was told of a new resource."""
    api: Any = Written(same)
    made = Controller(api, ControllerConfig(), "one", Metrics())
    told(made, "1")
    return made, api


def told(made: Controller, version: str) -> None:
    one = reverie()
    one["metadata"] |= {"namespace": "ml", "uid": "u-1", "resourceVersion": version, "generation": 1}
    made.runs._take({"type": "MODIFIED", "object": one})
    assert made.queue.get() == key_of(one)
    made.queue.done(key_of(one))


def test_after_a_write_nothing_is_decided_until_the_watch_has_brought_it() -> None:
    made, api = controller()
    made.look("ml/nano")
    assert api.writes == 1, "the finalizer"
    made.look("ml/nano")
    assert api.writes == 1, "a second write on the same news would be refused"
    told(made, "2")
    made.look("ml/nano")
    assert api.writes == 2


def test_a_write_that_changed_nothing_is_waited_for_by_nobody() -> None:
    made, api = controller(same=True)
    made.look("ml/nano")
    made.look("ml/nano")
    assert api.writes == 2
