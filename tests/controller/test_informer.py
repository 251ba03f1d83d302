"""A list, a watch, and what goes wrong with them."""

from collections.abc import Callable, Iterator
from typing import Any

from config import RetryableError
from controller.api import ApiError, Json
from controller.informer import Informer
from controller.observe import run_of

Event = tuple[str, Json] | Exception


def job(name: str, version: int, run: str = "nano") -> Json:
    meta = {"name": name, "namespace": "ml", "resourceVersion": str(version), "labels": {"reverie.dev/run": run}}
    return {"metadata": meta}


class Scripted:
    """An API whose lists and watches are given beforehand. `calls` are the versions that watches began from."""

    def __init__(self, lists: list[list[Json] | Exception], watches: list[list[Event]]) -> None:
        self.lists, self.watches = lists, watches
        self.calls: list[str] = []
        self.ended: Callable[[], None] = lambda: None

    def list(self, path: str, selector: str = "") -> tuple[list[Json], str]:
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, "100"

    def watch(self, path: str, version: str, seconds: int, selector: str = "") -> Iterator[Json]:
        self.calls.append(version)
        if not self.watches:
            self.ended()
            return
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield {"type": event[0], "object": event[1]}


def run(api: Scripted, trim: Callable[[Json], Json] = lambda one: one) -> tuple[Informer, list[str], list[float]]:
    """The informer after the script, the keys that it told, and its pauses."""
    told: list[str] = []
    pauses: list[float] = []
    of: Any = api
    informer = Informer(of, "/jobs", key=run_of, changed=told.append, sleep=pauses.append, trim=trim)
    api.ended = informer.stop
    informer.run()
    return informer, told, pauses


def names(informer: Informer, key: str = "ml/nano") -> list[str]:
    return sorted(one["metadata"]["name"] for one in informer.get(key))


def test_it_has_what_was_listed_and_what_came_and_went_since() -> None:
    events: list[Event] = [("ADDED", job("b", 101)), ("MODIFIED", job("a", 102)), ("DELETED", job("a", 103))]
    informer, told, _ = run(Scripted([[job("a", 1)]], [events]))
    assert names(informer) == ["b"]
    assert told == ["ml/nano"] * 4
    assert informer.synced.is_set()


def test_a_change_of_what_is_cut_off_is_told_to_nobody() -> None:
    events: list[Event] = [("MODIFIED", job("a", 102)), ("MODIFIED", {**job("a", 103), "status": "new"})]
    _, told, _ = run(
        Scripted([[job("a", 1)]], [events]), lambda one: {"metadata": {"name": "a"}, "status": one.get("status")}
    )
    assert told == ["ml/nano"] * 2, "when it was listed, and for its new status"


def test_a_watch_goes_on_from_the_last_version_that_it_saw_bookmarks_included() -> None:
    bookmark: Json = {"metadata": {"resourceVersion": "150"}}
    api = Scripted([[]], [[("ADDED", job("a", 101))], [("BOOKMARK", bookmark)], []])
    run(api)
    assert api.calls == ["100", "101", "150", "150"]


def test_after_410_everything_is_listed_anew_and_what_is_gone_is_told() -> None:
    for gone in (("ERROR", {"code": 410, "message": "too old"}), ApiError(410, "too old")):
        api = Scripted([[job("a", 1), job("b", 1)], [job("b", 1)]], [[gone]])
        informer, told, pauses = run(api)
        assert names(informer) == ["b"]
        assert told == ["ml/nano"] * 2
        assert pauses == []


def test_when_nobody_answers_it_waits_longer_each_time_and_keeps_what_it_has() -> None:
    down = RetryableError("connection refused")
    informer, _, pauses = run(Scripted([down, down, [job("a", 1)]], [[down]]))
    assert names(informer) == ["a"]
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 2.0
    assert len(pauses) == 3


def test_a_watch_that_ends_at_once_is_not_tried_again_at_once() -> None:
    _, _, pauses = run(Scripted([[]], [[], []]))
    assert len(pauses) == 2


def test_what_belongs_to_nobody_is_not_kept() -> None:
    other: Json = {"metadata": {"name": "x", "namespace": "ml", "resourceVersion": "1"}}
    informer, told, _ = run(Scripted([[other]], [[("ADDED", {**other})]]))
    assert informer.keys() == []
    assert told == []
