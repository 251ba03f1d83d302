"""TorchX's `local_cwd` (the roles as processes of this machine), with four differences that a pipeline needs.

* When a role fails, the app fails: the others are stopped. Stock TorchX lets them run, and a stage that waits for a
  dead one would wait for ever.
* The status says which role failed, with its exit code and the last error of its log.
* `python` is the Python that runs TorchX, whether or not its environment is activated.
* The roles end when TorchX is killed, even with -9: see `config/lifeline.py`.

TorchX finds this module by its place (`torchx_plugins/schedulers`), and what is found wins over the built-in one.
"""

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from torchx.plugins import register
from torchx.schedulers.api import DescribeAppResponse
from torchx.schedulers.local_scheduler import CWDImageProvider, LocalScheduler, ReplicaParam, _LocalAppDef
from torchx.specs import AppState, is_terminal

from config.errors import ReverieError
from config.lifeline import lifeline

_log = logging.getLogger(__name__)

_TAIL: Final = 64_000  # bytes at the end of a log in which the error is looked for
_ERROR: Final = re.compile(r"(?:^|: ?)(error: .+)$")  # what config.cli prints, perhaps behind a rank
_RAISED: Final = re.compile(
    r"^(?:\[.*?\]:)?((?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)\b.*)$"
)  # a traceback's end


class Together(LocalScheduler):
    """Roles that end together when one fails."""

    def __init__(self, session_name: str) -> None:
        super().__init__(session_name, CWDImageProvider, extra_paths=[str(Path(sys.executable).parent)])
        self._failures: dict[str, str] = {}  # app id -> what went wrong
        self._describing = threading.Lock()  # the command line asks from a thread per log

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """The state of an app. One with a failed role is FAILED, and its other roles are stopped."""
        with self._describing:
            app = self._apps.get(app_id)
            if app is not None and not is_terminal(app.state) and (found := "\n".join(failures(app))):
                _log.error("%s", found)
                self._failures[app_id] = found
                app.set_state(AppState.FAILED)  # what follows sees a finished app, and stops what still runs of it
            described = super().describe(app_id)
        if described is not None and app_id in self._failures:
            described.msg = self._failures[app_id]
        return described

    def _get_replica_env(self, replica_params: ReplicaParam) -> dict[str, str]:
        return {**super()._get_replica_env(replica_params), **lifeline(os.getpid())}


def failures(app: _LocalAppDef) -> Iterator[str]:
    """A line for each role that has failed: name, exit code, the last error of its log, where the log is."""
    for name, replicas in app.role_replicas.items():
        for one in replicas:
            if one.failed():
                log = Path(app.log_dir) / name / str(one.replica_id) / "stderr.log"
                text = log.read_bytes()[-_TAIL:].decode(errors="replace") if log.is_file() else ""
                ended = meaning(one.proc.returncode)
                yield f"{name}/{one.replica_id} ended with {ended}: {last_error(text) or 'without a word'} (log: {log})"


def last_error(log: str) -> str:
    """The line of a log that says best why a process ended: our own errors, else a traceback's end, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for pattern in (_ERROR, _RAISED):
        found = [match.group(1) for line in lines if (match := pattern.search(line))]
        if found:
            return found[-1]
    return lines[-1] if lines else ""


def meaning(code: int) -> str:
    """An exit code in words: `exit code 65 (DataError)`, `signal SIGKILL`."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    names = [error.__name__ for error in ReverieError.__subclasses__() if error.exit_code == code]
    return f"exit code {code}" + (f" ({names[0]})" if names else "")


@register.scheduler(name="local_cwd")
def create(session_name: str, **options: object) -> Together:
    """What TorchX calls. `options` are those of other schedulers; this one has none."""
    return Together(session_name)
