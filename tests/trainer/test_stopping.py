"""Stop requests and the watchdog."""

import os
import signal
import time

import pytest

from config import Stopped
from trainer.stopping import StopRequest, Watchdog


def test_sigterm_becomes_a_request():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        stop.check()
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(Stopped):
            stop.check()
    assert signal.getsignal(signal.SIGTERM) is before


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def test_a_step_that_never_ends_ends_the_process_with_76(capfd: pytest.CaptureFixture[str]):
    codes: list[int] = []
    with Watchdog(0.05, leave=codes.append) as watchdog:
        watchdog.beat()
        wait_for(lambda: codes)
    assert codes == [76]
    said = capfd.readouterr().err
    assert "no step finished within 0.05 s (engine.hang_seconds)" in said
    assert "test_stopping.py" in said  # where it hangs


def test_it_waits_for_the_first_step_and_rests_while_saving():
    """Virtual time: an hour passes before the first beat, and another after a rest."""
    now = [0.0]
    codes: list[int] = []
    with Watchdog(0.02, leave=codes.append, clock=lambda: now[0]) as watchdog:
        now[0] = 3600
        time.sleep(0.1)
        watchdog.beat()
        watchdog.rest()
        now[0] = 7200
        time.sleep(0.1)
    assert codes == []


def test_zero_switches_it_off():
    with Watchdog(0.0, leave=lambda code: pytest.fail("left")) as watchdog:
        watchdog.beat()
        time.sleep(0.05)
