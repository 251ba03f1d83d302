"""On one machine: roles fail together, say why, run our Python and do not outlive their launcher."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from torchx.runner.api import Runner
from torchx.specs import AppDef, AppState, AppStatus, Role

from torchx_plugins.schedulers.local_cwd import Together, create, last_error, meaning


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner("test", {"local_cwd": create}) as runner:
        yield runner


def run(runner: Runner, folder: Path, **scripts: str) -> tuple[AppStatus, Path]:
    """Runs an app of one role per script; its final status and its logs."""
    roles = [Role(name, image="", entrypoint="python", args=["-c", script]) for name, script in scripts.items()]
    handle = runner.run(AppDef("app", roles), "local_cwd", cfg={"log_dir": str(folder)})
    status = runner.wait(handle, wait_interval=0.1)
    assert status is not None
    return status, folder / "test" / handle.rpartition("/")[2]


def test_an_app_succeeds_when_all_its_roles_do(runner: Runner, tmp_path: Path) -> None:
    status, _ = run(runner, tmp_path, one="print(1)", two="print(2)")
    assert status.state == AppState.SUCCEEDED


def test_a_failed_role_fails_the_app_and_stops_the_others(runner: Runner, tmp_path: Path) -> None:
    started = time.monotonic()
    bad = "import sys; print('error: root: no such bucket', file=sys.stderr); sys.exit(75)"
    status, logs = run(runner, tmp_path, waits="import time; time.sleep(100)", bad=bad)
    assert status.state == AppState.FAILED
    assert time.monotonic() - started < 60
    log = logs / "bad" / "0" / "stderr.log"
    assert status.msg == f"bad/0 ended with exit code 75 (RetryableError): error: root: no such bucket (log: {log})"


def test_python_is_the_one_that_runs_torchx_and_it_has_a_lifeline(runner: Runner, tmp_path: Path) -> None:
    script = "import os, sys; print(sys.prefix, os.environ['REVERIE_LIFELINE'])"
    _, logs = run(runner, tmp_path, one=script)
    assert (logs / "one" / "0" / "stdout.log").read_text() == f"{sys.prefix} {os.getpid()}\n"


def test_torchx_takes_this_scheduler_for_local_cwd() -> None:
    from torchx.schedulers import get_scheduler_factories

    scheduler = get_scheduler_factories()["local_cwd"](session_name="test")
    assert isinstance(scheduler, Together)
    scheduler.close()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("loading\nerror: image.model: no folder x\ncleaning up\n", "error: image.model: no folder x"),
        ("[rank0]: error: the loss is not finite\n", "error: the loss is not finite"),
        ('Traceback:\n  File "a.py"\nValueError: bad\n\n', "ValueError: bad"),
        ("torch.OutOfMemoryError: CUDA out of memory\nbye\n", "torch.OutOfMemoryError: CUDA out of memory"),
        ("Killed\n", "Killed"),
        ("", ""),
    ],
)
def test_the_last_error_of_a_log_is_found(log: str, expected: str) -> None:
    assert last_error(log) == expected


def test_exit_codes_are_named() -> None:
    assert meaning(65) == "exit code 65 (DataError)"
    assert meaning(1) == "exit code 1"
    assert meaning(-9) == "signal SIGKILL"
