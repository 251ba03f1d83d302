"""Who holds a lease: a process on a machine, told from all others there, so that its death shows at once."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Holder:
    """A process: `host` names the machine since its last start and the process namespace (a container has its own),
    `started` tells it from a later process of the same number."""

    host: str
    pid: int
    started: str


def this_process() -> Holder:
    """The calling process."""
    return Holder(host=_host(), pid=os.getpid(), started=_started(os.getpid()) or "")


def is_dead(holder: Holder, host: str | None = None) -> bool:
    """True if that process certainly no longer runs; False if it does, or if it cannot be seen from here."""
    if holder.host != (host or _host()):
        return False
    return _started(holder.pid) != holder.started


@cache
def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux: one namespace; the network card names the machine
        boot, namespace = f"{uuid.getnode():x}", ""
    return f"{platform.node()}/{boot}/{namespace}"


def _started(pid: int) -> str | None:
    """When the process began, in the system's own unit; None if there is none, or only its remains (a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # in ticks since boot: no clock change moves it
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None
