"""Who leads, on a Lease in memory."""

import threading
from typing import Any

from config import RetryableError
from controller.api import ApiError, Json
from controller.election import Election


class Leases:
    """An API server that keeps one Lease. `down` makes it not answer."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.down = False
        self.version = 0

    def get(self, path: str) -> Json:
        self.answer()
        if self.lease is None:
            raise ApiError(404, "not found")
        return {"metadata": dict(self.lease["metadata"]), "spec": dict(self.lease["spec"])}

    def create(self, path: str, body: Json) -> Json:
        self.answer()
        if self.lease is not None:
            raise ApiError(409, "there is one")
        return self.keep(body)

    def replace(self, path: str, body: Json) -> Json:
        self.answer()
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "changed")
        return self.keep(body)

    def keep(self, body: Json) -> Json:
        self.version += 1
        self.lease = {"metadata": {**body["metadata"], "resourceVersion": str(self.version)}, "spec": body["spec"]}
        return self.lease

    def answer(self) -> None:
        if self.down:
            raise RetryableError("no answer")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def candidates() -> tuple[Leases, Clock, Election, Election]:
    leases, clock = Leases(), Clock()
    api: Any = leases
    one, two = (Election(api, "ml", "controller", name, 15, clock=clock) for name in ("one", "two"))
    return leases, clock, one, two


def test_the_first_to_ask_leads_and_the_others_do_not() -> None:
    leases, _, one, two = candidates()
    assert one.attempt()
    assert not two.attempt()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == "one"


def test_a_leader_that_renews_keeps_it_however_long() -> None:
    _, clock, one, two = candidates()
    for _ in range(10):
        assert one.attempt()
        assert not two.attempt()
        clock.now += 10


def test_a_leader_that_is_silent_for_the_duration_is_followed() -> None:
    leases, clock, one, two = candidates()
    assert one.attempt()
    assert not two.attempt()
    clock.now += 15
    assert not two.attempt()
    clock.now += 1
    assert two.attempt()
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1
    assert not one.attempt()


def test_a_candidate_that_comes_late_waits_the_whole_duration_by_its_own_clock() -> None:
    _, clock, one, two = candidates()
    assert one.attempt()
    clock.now += 1000
    assert not two.attempt()


def test_of_two_that_write_at_once_one_gets_it() -> None:
    leases, clock, one, two = candidates()
    one.attempt()
    two.attempt()
    clock.now += 16
    before = leases.get("")
    assert two.attempt()
    leases_get, leases.get = leases.get, lambda path: before  # type: ignore[method-assign]
    assert not one.attempt()
    leases.get = leases_get  # type: ignore[method-assign]


def test_a_lease_that_is_given_back_is_free_at_once() -> None:
    _, _, one, two = candidates()
    one.attempt()
    one.release()
    assert two.attempt()


def test_told_to_stop_it_ends_its_work_before_it_gives_the_lease_back() -> None:
    leases, _, one, _ = candidates()
    stop = threading.Event()
    held: list[str] = []

    def work_ends() -> None:
        assert leases.lease is not None
        held.append(leases.lease["spec"]["holderIdentity"])

    def stop_once_it_leads() -> None:
        one.leading.wait(10)
        stop.set()

    thread = threading.Thread(target=stop_once_it_leads)
    thread.start()
    assert one.run(stop, before_release=work_ends)
    thread.join()
    assert held == ["one"]
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""


def test_a_leader_that_cannot_renew_stops_before_another_may_begin() -> None:
    leases, clock, one, _ = candidates()

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            leases.down = True
            clock.now += timeout or 0
            return False

    lost_at = clock.now
    assert not one.run(Stop())
    assert clock.now - lost_at < 15
    assert not one.leading.is_set()
