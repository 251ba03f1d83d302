"""A stage ends when its launcher is gone, and only then."""

import os
import signal
import subprocess
import sys
import time

import pytest

from config.lifeline import VARIABLE, lifeline, watch

# Prints, then waits; SIGTERM ends it with 143, as it does a stage.
STAGE = """
import os, signal, sys, time
from config import lifeline
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
lifeline.watch(os.environ)
print("up", flush=True)
time.sleep(60)
"""


def start(launcher: int, script: str = STAGE) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script]
    stage = subprocess.Popen(command, env={**os.environ, **lifeline(launcher)}, stdout=subprocess.PIPE, text=True)
    assert stage.stdout is not None
    assert stage.stdout.readline() == "up\n"
    return stage


def test_a_stage_stops_when_its_launcher_was_killed() -> None:
    launcher = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with start(launcher.pid) as stage:
        launcher.kill()
        launcher.wait()
        assert stage.wait(timeout=30) == 143


def test_a_stage_goes_on_while_its_launcher_lives() -> None:
    with start(os.getpid()) as stage:
        with pytest.raises(subprocess.TimeoutExpired):
            stage.wait(timeout=2.5)
        stage.kill()


def test_without_a_launcher_nothing_is_watched() -> None:
    watch({})
    watch({VARIABLE: ""})
    time.sleep(0.1)  # would have raised SIGTERM by now, were it watching


def test_a_stage_that_does_not_stop_is_killed() -> None:
    deaf = STAGE.replace("lambda *_: sys.exit(143)", "signal.SIG_IGN").replace(
        "lifeline.watch", "lifeline.GRACE = 0.5; lifeline.watch"
    )
    launcher = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with start(launcher.pid, deaf) as stage:
        launcher.kill()
        launcher.wait()
        assert stage.wait(timeout=30) == -signal.SIGKILL
