"""Pods' addresses: a bridge of this machine, and for each pod a network of its own that is plugged into it.

A pod's server is seen by its peers and by this machine, and by nobody outside it; two pods may use the same port. The
machine itself has the bridge's first address, where servers stand that pods need. Needs root, and `ip` of iproute2.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

_FOLDER: Final = Path("/run/netns")


@dataclass
class Network:
    """One bridge. Addresses are given once and never again."""

    bridge: str
    prefix: str
    """First two numbers of its addresses."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))

    @property
    def host(self) -> str:
        """The machine's own address."""
        return f"{self.prefix}.0.1"

    def plug(self) -> "Plug":
        """A new network for a pod."""
        number = next(self._numbers)
        plug = Plug(f"{self.bridge}-{number}", f"{self.prefix}.{number // 256}.{number % 256}")
        wire = f"{self.bridge}v{number}"  # at most 15 characters
        _ip("netns", "add", plug.name)
        _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", plug.name)
        _ip("link", "set", wire, "master", self.bridge, "up")
        _ip("-n", plug.name, "address", "add", f"{plug.address}/16", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", plug.name, "link", "set", device, "up")
        return plug


@dataclass(frozen=True)
class Plug:
    """A pod's network."""

    name: str
    address: str

    @property
    def command(self) -> tuple[str, ...]:
        """In front of a command that shall run in it."""
        return ("/usr/bin/nsenter", f"--net={_FOLDER / self.name}")

    def pull(self) -> None:
        """Takes it away; its end of the wire goes with it."""
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)  # may have gone with the bridge


@contextmanager
def network() -> Iterator[Network]:
    """One that no other test run of this machine uses, until the block ends."""
    taken = _ip("-o", "address")
    made = next(filter(_begin, (Network(f"rev{n}", f"10.{n}") for n in range(200, 250) if f" 10.{n}." not in taken)))
    try:
        _ip("address", "add", f"{made.host}/16", "dev", made.bridge)
        _ip("link", "set", made.bridge, "up")
        yield made
    finally:
        for left in _FOLDER.glob(f"{made.bridge}-*"):
            Plug(left.name, "").pull()
        _ip("link", "delete", made.bridge)


def _begin(network: Network) -> bool:
    """Whether the bridge is ours: another test run may make one at the same moment."""
    try:
        _ip("link", "add", network.bridge, "type", "bridge")
    except RuntimeError as error:
        if "File exists" not in str(error):
            raise
        return False
    return True


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
