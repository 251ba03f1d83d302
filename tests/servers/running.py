"""A server as a process that a test starts and ends."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """One that runs and writes to a log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def fail(self, why: str) -> RuntimeError:
        """What to raise when it does not do its work: why, and the end of its log."""
        return RuntimeError(f"{self.name} {why}:\n{self.log.read_text()[-3000:]}")


@contextmanager
def running(name: str, command: Sequence[str], folder: Path) -> Iterator[Program]:
    """The command in `folder`, with its words in `<name>.log` there, until the block ends."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield Program(name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
