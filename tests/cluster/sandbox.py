"""Runs one container's command as Linux would: its own mounts, hostname and process tree, its user, no capabilities.

The files are this machine's: an image is a local environment (PATH and working directory). Volumes are bound over the
paths where the container mounts them, and with `read_only` all other paths refuse to be written. Needs root.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_APART: Final = ("/usr/bin/unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
_ASIDE: Final = "/run/aside"
_SYSTEM_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine at a path in the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Sandbox:
    """What a container may see and be."""

    hostname: str
    mounts: Sequence[Mount] = ()
    read_only: bool = False
    user: int = 0
    group: int = 0
    hidden: Sequence[str] = ("/root",)
    """Folders of this machine that the container does not see, unless it is root."""
    shown: Sequence[str] = field(default=())
    """Folders below the hidden ones that it needs all the same, such as the interpreter of an environment."""

    def start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: str, log: Path, inside: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """The container, which `stop` and `kill` end. `inside`: enters the pod's network."""
        with log.open("ab") as out:
            return subprocess.Popen(
                [*inside, *_APART, "/bin/sh", "-euc", self._script(command, cwd)],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _script(self, command: Sequence[str], cwd: str) -> str:
        # What sets the container up comes from this machine's folders, the command from the container's own PATH.
        lines = ['CONTAINER_PATH="$PATH"', f"PATH={_SYSTEM_PATH}", f"hostname {shlex.quote(self.hostname)}"]
        if self.user:
            lines += self._hide()
        # Aside first, each by its number: what is mounted over /tmp hides the sources that lie there.
        lines += [f"mkdir -p {_ASIDE}", f"mount -t tmpfs aside {_ASIDE}"]
        makes = ["mkdir -p" if mount.source.is_dir() else "touch" for mount in self.mounts]
        for number, (mount, make) in enumerate(zip(self.mounts, makes, strict=True)):
            aside = f"{_ASIDE}/{number}"
            lines += [f"{make} {aside}", f"mount --bind {shlex.quote(str(mount.source))} {aside}"]
        for number, (mount, make) in enumerate(zip(self.mounts, makes, strict=True)):
            target = shlex.quote(mount.target)
            lines += [f"[ -e {target} ] || {make} {target}", f"mount --bind {_ASIDE}/{number} {target}"]
            lines += [f"mount -o remount,bind,ro {target}"] if mount.read_only else []
        lines.append(f"umount -R {_ASIDE}")
        if self.read_only:
            lines.append("mount -o remount,bind,ro /")  # of this mount alone: what is bound over it keeps its own mode
        lines.append(f"cd {shlex.quote(cwd)}")
        wanted = ["setpriv", "--no-new-privs"]
        if self.user:
            wanted += [f"--reuid={self.user}", f"--regid={self.group}", "--clear-groups", "--bounding-set=-all"]
        wanted += ["env", "-u", "CONTAINER_PATH", 'PATH="$CONTAINER_PATH"', *map(shlex.quote, command)]
        return "\n".join([*lines, f"exec {' '.join(wanted)}"])

    def _hide(self) -> list[str]:
        """Empty folders over the hidden ones, with what is shown bound into them again."""
        lines = ["mkdir -p /run/shown"]
        for number, shown in enumerate(self.shown):
            lines += [f"mkdir -p /run/shown/{number}", f"mount --bind {shlex.quote(shown)} /run/shown/{number}"]
        lines += [f"mount -t tmpfs -o mode=755 hidden {shlex.quote(folder)}" for folder in self.hidden]
        for number, shown in enumerate(self.shown):
            lines += [f"mkdir -p {shlex.quote(shown)}", f"mount --bind /run/shown/{number} {shlex.quote(shown)}"]
        return lines


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to the container's first process, SIGKILL to all of it after `grace` seconds."""
    for first in _first(process):
        os.kill(first, signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        kill(process)
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to all of a container: with its first process the kernel ends the others."""
    for first in _first(process):
        # `unshare` would report SIGKILL of its child as exit code 1, so it must not live to see it.
        process.send_signal(signal.SIGSTOP)
        os.kill(first, signal.SIGKILL)
        process.kill()


def freeze(process: subprocess.Popen[bytes], number: int = signal.SIGSTOP) -> None:
    """All processes of a container stand still, as those of a machine that does not get its turn; SIGCONT ends it."""
    left = _first(process)
    while left:
        one = left.pop()
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(one, number)
            for thread in Path(f"/proc/{one}/task").iterdir():
                left += map(int, (thread / "children").read_text().split())


def _first(process: subprocess.Popen[bytes]) -> list[int]:
    """The container's first process, which is the child of `unshare`; none if it has ended."""
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return [int(child) for child in children]
        time.sleep(0.01)  # it has just been started
    return []
