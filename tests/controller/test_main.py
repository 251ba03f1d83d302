"""The life of a replica, without a cluster that answers."""

import threading
from typing import Any

import pytest

from config import RetryableError
from controller.__main__ import lease_namespace, serve
from controller.config import ControllerConfig
from tests.controller.test_election import Leases


class NothingButLeases(Leases):
    """An API server that keeps Leases and answers nothing else. After some renewals it does not answer at all."""

    def __init__(self, renewals: int) -> None:
        super().__init__()
        self.renewals = renewals

    def list(self, path: str, selector: str = "") -> Any:
        raise RetryableError("no answer")

    def answer(self) -> None:
        super().answer()
        self.renewals -= 1
        self.down = self.renewals < 0


def config() -> ControllerConfig:
    return ControllerConfig(address="127.0.0.1", port=0, lease_seconds=3)


@pytest.mark.timeout(60)
def test_a_leader_that_loses_its_lease_before_it_has_seen_anything_ends() -> None:
    api: Any = NothingButLeases(renewals=4)
    with pytest.raises(RetryableError, match="lease reverie-controller is lost"):
        serve(config(), api, threading.Event(), "one")


@pytest.mark.timeout(60)
def test_told_to_end_it_gives_its_lease_back_and_ends() -> None:
    leases = NothingButLeases(renewals=1000)
    api: Any = leases
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(config(), api, stop, "one"))
    thread.start()
    while leases.lease is None:
        thread.join(0.05)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert leases.lease["spec"]["holderIdentity"] == ""


def test_replicas_meet_in_the_namespace_that_they_are_told_or_serve() -> None:
    assert lease_namespace(ControllerConfig(lease_namespace="a", namespace="b")) == "a"
    assert lease_namespace(ControllerConfig(namespace="b")) == "b"
    assert lease_namespace(ControllerConfig()) == "default"
