"""What Prometheus reads, and what probes are told."""

import urllib.error
import urllib.request

import pytest

from controller.health import serving
from controller.metrics import Metrics


def test_counters_gauges_and_histograms_in_prometheus_text() -> None:
    metrics = Metrics()
    count = metrics.counter("looks_total", "Looks.")
    seconds = metrics.histogram("look_seconds", "Time.")
    metrics.gauge("length", "Length.", lambda: 3)
    count(result="done")
    count(2, result="done")
    count(result="bug")
    seconds(0.02)
    seconds(20)
    text = metrics.text()
    assert '# TYPE looks_total counter\nlooks_total{result="done"} 3\nlooks_total{result="bug"} 1\n' in text
    assert "# TYPE length gauge\nlength 3\n" in text
    assert 'look_seconds_bucket{le="0.015"} 0\nlook_seconds_bucket{le="0.02"} 1\n' in text
    assert 'look_seconds_bucket{le="+Inf"} 2\nlook_seconds_sum 20.02\nlook_seconds_count 2\n' in text


@pytest.mark.timeout(60)
def test_who_is_asked_for_a_gauge_may_count_meanwhile() -> None:
    metrics = Metrics()
    count = metrics.counter("looks_total", "Looks.")

    def length() -> float:
        count()
        return 3

    metrics.gauge("length", "Length.", length)
    assert "length 3\n" in metrics.text()


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("good", [True, False])
def test_probes_say_what_holds(good: bool) -> None:
    with serving("127.0.0.1", 0, lambda: good, lambda: good, lambda: "length 3\n") as port:
        status = 200 if good else 503
        assert ask(port, "/healthz")[0] == status
        assert ask(port, "/readyz")[0] == status
        assert ask(port, "/metrics") == (200, "length 3\n")
        assert ask(port, "/else")[0] == 404
