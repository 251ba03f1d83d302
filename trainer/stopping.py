"""Two ways a run ends early and cleanly: it is asked to stop, or a watchdog finds that it hangs."""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from config import HangError, Stopped


class StopRequest:
    """Turns SIGTERM (preemption, suspension) into a question that the loop asks between steps. A context manager, for
    the main thread."""

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def check(self) -> None:
        """Raises Stopped if asked to stop: for waits in which there is nothing to save."""
        if self.requested:
            raise Stopped("stopped on request; nothing was under way")

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


class Watchdog:
    """Ends the process with exit code 76 when no beat came for `seconds`, after writing where every thread stands.

    It runs from the first beat on; `rest` halts it until the next. `seconds` 0 switches it off. A process that hangs in
    a collective cannot be asked politely, so it leaves without cleaning up: the newest checkpoint is what it goes on
    from. A context manager.
    """

    def __init__(
        self, seconds: float, leave: Callable[[int], object] = os._exit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self._leave, self._clock = seconds, leave, clock
        self._deadline = float("inf")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        self._deadline = self._clock() + self.seconds

    def rest(self) -> None:
        self._deadline = float("inf")

    def __enter__(self) -> Self:
        if self.seconds:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.seconds / 4)):
            if self._clock() > self._deadline:
                print(
                    f"error: no step finished within {self.seconds:g} s (engine.hang_seconds); this is where it hangs:",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(sys.__stderr__ or 2)
                self._leave(HangError.exit_code)
                return
