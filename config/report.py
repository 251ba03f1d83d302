"""What a process says of its progress to whoever asks: `GET /progress` at the port that its launcher names.

    {"stage": "image", "done": 128, "total": 1024, "rate": 3.5, "shards": 1, "save": null, "step": 0.3, "age": 0.4}

A controller that may not read the storage learns so what is committed: the stages count markers anyway. One answer
holds for all workers of a stage, and it is asked for, not sent, so that a pod needs neither an address nor a token.

`recorded`, once it is known, is the path of the pipeline's run in MLflow's pages.

A stage that has results leaves them as its container's termination message, which is in the pod's status from then on:
whoever looks at it later finds them, however long nobody looked.

`step` and `age` are the heartbeat: the median time between two advances of `done`, and the time since the last one.
Who finds that a stage hangs says so by `POST /hang`: the processes of the pod then write where every thread stands and
end with 76. A process that hangs does not end on SIGTERM, and a pod that ended by itself keeps its log. One that has
moved a short while ago refuses: nobody can end a run that works.
"""

import contextlib
import errno
import faulthandler
import json
import os
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from config.errors import HangError

VARIABLE: Final = "REVERIE_PROGRESS_PORT"  # the port, of all addresses of the pod
PATH: Final = "/progress"
HANG_PATH: Final = "/hang"
MOST_VALUES: Final = 64
MESSAGE: Final = Path("/dev/termination-log")  # Kubernetes' default
_MESSAGE_BYTES: Final = 4096  # it keeps no more
_STEPS: Final = 101  # of which the median is taken: a save or a slow first step moves it nowhere
_STILL_SECONDS: Final = 60.0  # a process that has moved since does not hang, whoever says so
_STILL_STEPS: Final = 5.0  # nor one that has moved within so many median steps
_DUMP_SECONDS: Final = 1.0  # for the other processes of the pod to write their stacks


Value = Mapping[str, str | float]
"""A result: `name`, `metric`, `value`."""


class Latest:
    """The newest count of this process. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, Any] = {}
        self._moved = clock()
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._recorded = ""

    def put(self, stage: str, done: int, total: int | None, rate: float, notes: Mapping[str, object]) -> None:
        """A stage has `done` of `total`. Of the notes two are told: `shards`, how many units are committed, and
        `save_seconds`, how long the last checkpoint took."""
        with self._lock:
            before = self._said if self._said.get("stage") == stage else {}
            shards = notes.get("shards", before.get("shards", 0))
            save = notes.get("save_seconds", before.get("save"))
            self._said = {"stage": stage, "done": done, "total": total, "rate": rate, "shards": shards, "save": save}
            now = self._clock()
            if not before:
                self._steps.clear()
                self._moved = now
            elif done != before["done"]:
                self._steps.append(now - self._moved)
                self._moved = now

    def record(self, path: str) -> None:
        """Where the pipeline's run is in MLflow's pages."""
        with self._lock:
            self._recorded = path

    def text(self) -> str:
        """As JSON, with the heartbeat; empty if nothing was counted yet."""
        with self._lock:
            if not self._said:
                return ""
            recorded = {"recorded": self._recorded} if self._recorded else {}
            return json.dumps({**self._said, "step": self._step(), "age": self._age(), **recorded})

    def still(self) -> bool:
        """Whether it has counted something and then nothing for so long that it may hang."""
        with self._lock:
            return bool(self._said) and self._age() > max(_STILL_SECONDS, _STILL_STEPS * (self._step() or 0.0))

    def _step(self) -> float | None:
        return statistics.median(self._steps) if self._steps else None

    def _age(self) -> float:
        return self._clock() - self._moved


LATEST: Final = Latest()
"""Of this process."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: whoever asks and hangs up before the answer is no news for the stage's log."""


def serve(
    environment: Mapping[str, str], latest: Latest = LATEST, leave: Callable[[int], object] = os._exit
) -> ThreadingHTTPServer | None:
    """Answers from now on, if the environment names a port; None if not, or if another process of the pod does.

    All processes of a pod count the same, so it does not matter which one answers. `leave` ends the process.
    """
    port = environment.get(VARIABLE, "")
    if not port.isdigit():
        return None
    # In C: it writes the stacks of a process whose threads are all stuck, too.
    faulthandler.register(signal.SIGUSR1, file=_log())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = latest.text() if self.path == PATH else ""
            self._answer(404 if self.path != PATH else 200 if text else 503, text.encode())

        def do_POST(self) -> None:
            if self.path != HANG_PATH:
                self._answer(404)
            elif not latest.still():
                self._answer(409)
            else:
                self._answer(202)
                self.wfile.flush()
                end_pod(port, leave)

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the log is the stage's."""

    try:
        server = _Server(("", int(port)), Handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    threading.Thread(target=server.serve_forever, name="report", daemon=True).start()
    return server


def conclude(environment: Mapping[str, str], values: Sequence[Value], file: Path = MESSAGE) -> None:
    """Leaves the results of a stage that is done for its pod's status, where a launcher asks for its progress; as many
    as there is room for."""
    if not environment.get(VARIABLE):
        return
    told = [(one["name"], one["metric"], one["value"]) for one in values[:MOST_VALUES]]
    while len(text := json.dumps({"values": told}, separators=(",", ":"))) > _MESSAGE_BYTES:
        told.pop()
    try:
        file.write_text(text)
    except OSError as error:
        print(f"the results are not in the status of the pod: {error}", file=sys.stderr)


def end_pod(port: str, leave: Callable[[int], object]) -> None:
    """Writes the stacks of all processes of this pod and ends them, this one with the code of a hang.

    The others are killed: what hangs does not hear SIGTERM, and torchrun would wait minutes for it.
    """
    print("error: nothing moves any more; this is where it hangs:", file=sys.stderr, flush=True)
    others = list(_siblings(port))
    for pid in others:
        _signal(pid, signal.SIGUSR1)
    faulthandler.dump_traceback(_log())
    if others:
        time.sleep(_DUMP_SECONDS)
    for pid in others:
        _signal(pid, signal.SIGKILL)
    leave(HangError.exit_code)


def _siblings(port: str) -> Iterator[int]:
    """The other processes of the same launcher that were told the same port and write their stacks on SIGUSR1."""
    told = f"{VARIABLE}={port}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = (line.partition(":") for line in (folder / "status").read_text().splitlines())
            status = {name: value.strip() for name, _, value in lines}
            same = int(status["PPid"]) == os.getppid() and told in (folder / "environ").read_bytes().split(b"\0")
        except (OSError, KeyError, ValueError):
            continue  # it has ended, or is not ours to look at
        catches = int(status["SigCgt"], 16) >> (signal.SIGUSR1 - 1) & 1
        if same and catches and int(folder.name) != os.getpid():
            yield int(folder.name)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _log() -> Any:
    return sys.__stderr__ or 2
