"""A dead process is told from a living one, and from one that cannot be seen from here."""

import os
import subprocess
import sys
from dataclasses import replace

from shards.holder import Holder, is_dead, this_process


def child() -> subprocess.Popen[str]:
    code = "import sys; from shards.holder import this_process as t; h = t(); print(h.started, flush=True); input()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_this_process_lives() -> None:
    assert not is_dead(this_process())


def test_a_killed_process_is_dead_even_before_anyone_waits_for_it() -> None:
    """A zombie's number is still taken, and it works no more."""
    with child() as process:
        assert process.stdout is not None
        holder = Holder(this_process().host, process.pid, process.stdout.readline().strip())
        assert not is_dead(holder)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead now, and left a zombie
        assert is_dead(holder)
        process.wait()
        assert is_dead(holder)


def test_a_later_process_with_the_same_number_is_another() -> None:
    assert is_dead(replace(this_process(), started="1"))


def test_a_process_on_another_machine_cannot_be_judged() -> None:
    gone = replace(this_process(), pid=2**22 + 1)
    assert is_dead(gone)
    assert not is_dead(replace(gone, host="elsewhere"))
