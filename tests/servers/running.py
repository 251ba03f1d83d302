"""A server as a process that a test starts and ends."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Program:
    """One that runs and writes to a log."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes]

    def restart(self, down: float = 0.0) -> None:
        """Kills it, as a crash of its machine would, and starts it again after `down` seconds."""
        self.process.kill()
        self.process.wait()
        time.sleep(down)
        self.process = _start(self.command, self.log)

    def fail(self, why: str) -> RuntimeError:
        """What to raise when it does not do its work: why, and the end of its log."""
        return RuntimeError(f"{self.name} {why}:\n{self.log.read_text()[-3000:]}")


@contextmanager
def running(name: str, command: Sequence[str], folder: Path) -> Iterator[Program]:
    """The command in `folder`, with its words in `<name>.log` there, until the block ends."""
    log = folder / f"{name}.log"
    log.write_bytes(b"")
    program = Program(name, command, log, _start(command, log))
    try:
        yield program
    finally:
        program.process.terminate()
        try:
            program.process.wait(10)
        except subprocess.TimeoutExpired:
            program.process.kill()
            program.process.wait()


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT)


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
