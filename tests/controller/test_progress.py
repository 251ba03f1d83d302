"""Pods are asked how far their stage is."""

import json
import socket
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.api import Json
from controller.observed import Report
from controller.progress import Pods, Reports, addresses, ask

HEARD = datetime(2026, 11, 22, 18, tzinfo=UTC)


def pod(address: str, stage: str = "image", phase: str = "Running", attempt: int = 0) -> Json:
    labels = {"reverie.dev/stage": stage, "reverie.dev/attempt": str(attempt)}
    return {"metadata": {"labels": labels}, "status": {"phase": phase, "podIP": address}}


def answer(**said: Any) -> bytes:
    return json.dumps({"stage": "image", "age": 0.1, **said}).encode()


def asked(pods: list[Json], answers: dict[str, bytes]) -> tuple[Reports, list[str], list[str]]:
    """Reports after one round, the keys that were told, and the addresses that were asked."""
    told: list[str] = []
    calls: list[str] = []

    def ask(address: str) -> bytes:
        calls.append(address)
        if address not in answers:
            raise OSError("no route")
        return answers[address]

    reports = Reports(lambda: ["ml/nano"], lambda key: pods, told.append, ask, clock=lambda: HEARD)
    reports.round()
    return reports, told, calls


def test_one_pod_of_a_stage_is_asked_whatever_the_replicas() -> None:
    pods = [pod(f"10.0.0.{n}") for n in range(100)]
    answers = {f"10.0.0.{n}": answer(done=7, shards=1, rate=0.123456) for n in range(100)}
    reports, told, calls = asked(pods, answers)
    assert len(calls) == 1
    assert reports.get("ml/nano") == {"image": Report(done=7, shards=1, rate=0.123)}
    assert told == ["ml/nano"]
    reports.round()
    assert told == ["ml/nano"], "the same said again is no news"


def test_a_pod_that_does_not_answer_is_passed_over_for_another() -> None:
    pods = [pod("10.0.0.1"), pod("10.0.0.2")]
    reports, _, _ = asked(pods, {"10.0.0.2": answer(done=3)})
    assert reports.get("ml/nano") == {"image": Report(done=3)}


def test_a_stage_whose_packets_are_dropped_is_then_asked_of_one_pod_and_every_third_round_until_it_answers() -> None:
    pods = {"ml/dropped": [pod("1.1.1.1"), pod("1.1.1.2")], "ml/other": [pod("2.2.2.2")]}
    drops, calls = True, list[str]()

    def ask(address: str) -> bytes:
        calls.append(address[0])
        if drops and address.startswith("1."):
            raise TimeoutError
        return answer(done=1)

    reports = Reports(lambda: list(pods), lambda key: pods[key], lambda key: None, ask)
    rounds = []
    for _ in range(4):
        calls.clear()
        reports.round()
        rounds.append(sorted(calls))
    assert rounds == [["1", "1", "2"], ["2"], ["2"], ["1", "2"]]
    drops = False
    reports.round()
    assert reports.get("ml/dropped") == {}
    for _ in range(2):
        reports.round()
    assert reports.get("ml/dropped")["image"].done == 1
    calls.clear()
    reports.round()
    assert sorted(calls) == ["1", "2"], "one that answers is asked in each round"


def test_a_stage_of_which_one_pod_is_not_reached_is_heard_of_in_each_round() -> None:
    """As a gang that hangs because the node of one is gone: the others say that nothing moves."""
    pods, heard = [pod("1.1.1.1"), pod("2.2.2.2")], list[str]()

    def ask(address: str) -> bytes:
        if address.startswith("1."):
            raise TimeoutError
        heard.append(address)
        return answer(done=1)

    reports = Reports(lambda: ["ml/nano"], lambda key: pods, lambda key: None, ask)
    for _ in range(8):
        reports.round()
    assert len(heard) == 8


def test_a_pod_that_stands_still_is_no_pod_that_is_not_reached() -> None:
    """Its machine takes the connection; nobody reads what comes."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError, match="did not answer") as error:
        ask("127.0.0.1", server.getsockname()[1])
    assert not isinstance(error.value, TimeoutError)


def test_a_stage_that_refuses_costs_nothing_and_is_asked_in_each_round() -> None:
    _, _, calls = asked([pod(f"1.1.1.{n}") for n in range(5)], {})
    assert len(calls) == 3, "as many pods as are tried in a round"


def test_a_thousand_stages_whose_packets_are_dropped_are_asked_side_by_side() -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def ask(address: str) -> bytes:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        with lock:
            at_once -= 1
        raise TimeoutError

    keys = [f"ml/{n}" for n in range(1000)]
    Reports(lambda: keys, lambda key: [pod("1.1.1.1")], lambda key: None, ask).round()
    assert 2 < most <= 32


def test_an_answer_that_points_elsewhere_or_is_no_http_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pod answers decides nothing of whom the controller asks; nor does a proxy of its environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for said in (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", b"no\r\n\r\n"):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=_once, args=(server, said))
            thread.start()
            with pytest.raises(OSError, match="HTTP"):
                ask("127.0.0.1", server.getsockname()[1])
            thread.join()


def _once(server: socket.socket, said: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(said)


def test_when_nobody_answers_what_was_said_last_stands() -> None:
    answers = {"10.0.0.1": answer(done=3)}
    reports, told, _ = asked([pod("10.0.0.1")], answers)
    answers.clear()
    reports.round()
    assert reports.get("ml/nano") == {"image": Report(done=3)}
    assert told == ["ml/nano"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"no json",
        b"[]",
        b'{"done": -1}',
        b'{"done": "7"}',
        b'{"done": 1e99}',
        b'{"done": 1, "recorded": "javascript:alert(1)"}',
    ],
)
def test_nonsense_is_not_believed(said: bytes) -> None:
    reports, told, _ = asked([pod("10.0.0.1")], {"10.0.0.1": said})
    assert reports.get("ml/nano") == {}
    assert told == []


def test_pods_that_do_not_run_or_do_not_count_are_not_asked() -> None:
    pods = [pod("1.1.1.1", phase="Pending"), pod("1.1.1.2", stage="render"), pod("1.1.1.3", stage="pretrain")]
    assert addresses(pods) == {"pretrain": Pods(0, ["1.1.1.3"])}


def test_pods_of_an_earlier_attempt_that_still_save_are_not_asked() -> None:
    pods = [pod("1.1.1.1", attempt=9), pod("1.1.1.2", attempt=10), pod("1.1.1.3", attempt=9)]
    assert addresses(pods) == {"image": Pods(10, ["1.1.1.2"])}


def test_a_heartbeat_that_only_grows_older_is_kept_but_no_news() -> None:
    answers = {"10.0.0.1": answer(done=3, step=2.0, age=5.0)}
    reports, told, _ = asked([pod("10.0.0.1", attempt=2)], answers)
    answers["10.0.0.1"] = answer(done=3, step=2.0, age=20.0)
    reports.round()
    said = reports.get("ml/nano")["image"]
    assert (said.step, said.age, said.attempt, said.heard) == (2.0, 20.0, 2, HEARD)
    assert told == ["ml/nano"]


def test_what_a_save_took_is_read() -> None:
    reports, _, _ = asked([pod("10.0.0.1", "pretrain")], {"10.0.0.1": answer(done=3, save=1.23456)})
    assert reports.get("ml/nano")["pretrain"].save == 1.23


def test_all_pods_of_a_stage_that_hangs_are_told_and_one_that_does_not_hear_stops_nobody() -> None:
    pods = [pod("1.1.1.1"), pod("1.1.1.2"), pod("1.1.1.3"), pod("2.2.2.2", stage="caption")]
    told: list[str] = []

    def tell(address: str) -> bytes:
        told.append(address)
        if address == "1.1.1.2":
            raise OSError("409")
        return b""

    reports = Reports(lambda: ["ml/nano"], lambda key: pods, lambda key: None, tell_hung=tell)
    reports.end_hung("ml/nano", "image")
    assert sorted(told) == ["1.1.1.1", "1.1.1.2", "1.1.1.3"]
    reports.end_hung("ml/nano", "pretrain")
    assert len(told) == 3


def test_what_is_gone_is_forgotten() -> None:
    keys = ["ml/nano"]
    reports = Reports(lambda: keys, lambda key: [pod("1.1.1.1")], lambda key: None, lambda address: answer(done=1))
    reports.round()
    keys.clear()
    reports.round()
    assert reports.get("ml/nano") == {}


def test_rounds_end_when_told() -> None:
    stop = threading.Event()
    stop.set()
    Reports(list, lambda key: [], lambda key: None, ask).run(1000.0, stop)
