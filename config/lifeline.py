"""A stage ends when whoever started it is gone: killed launchers leave nobody behind who works beside the next attempt.

A launcher that wants this puts its process id into the environment of what it starts. Nothing else could do it: a
process that is killed with -9 can tell no one, and its children would simply go on.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "REVERIE_LIFELINE"  # id of a process of this machine
SECONDS: Final = 1.0  # between two looks
GRACE: Final = 30.0  # seconds to save in; longer would let the next attempt start beside this one


def lifeline(pid: int) -> dict[str, str]:
    """The environment of a process that is to end with process `pid`."""
    return {VARIABLE: str(pid)}


def watch(environment: Mapping[str, str]) -> None:
    """Once its launcher is gone, asks this process to stop (SIGTERM, as a scheduler would), and after a while kills it.

    Without a launcher in the environment nothing is watched.
    """
    launcher = environment.get(VARIABLE, "")
    if launcher.isdigit():
        threading.Thread(target=_until_gone, args=(int(launcher),), name="lifeline", daemon=True).start()


def _until_gone(launcher: int) -> None:
    while _alive(launcher):
        time.sleep(SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, so there
    return True
