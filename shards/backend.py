"""The few operations that a kind of storage must offer, and the table of the kinds that offer them.

A backend speaks in paths relative to the root and in plain exceptions (`FileNotFoundError`, `FileExistsError`,
`PermissionError`, other `OSError`s); `shards.storage.Storage` adds retries and words for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any, Protocol
from urllib.parse import urlsplit

from config.errors import ConfigError

Data = bytes | mmap
"""What can be written: bytes, or a mapped file where they are too many to hold in memory."""

HIDDEN = ".tmp-"
"""Names that begin so are work in progress: no listing shows them, and `shards.upkeep.sweep` removes old ones."""


@dataclass(frozen=True)
class Entry:
    """One name in a folder; `modified` is in seconds since the epoch by the clock of the storage."""

    name: str
    size: int = 0
    modified: float = 0.0
    folder: bool = False


class Backend(Protocol):
    """One kind of storage under one root. Every call may be made from many threads at once."""

    parallel: int
    """How many ranges are worth fetching at once: 1 where there is no latency to hide."""
    remote: bool
    """Whether a failed call may be worth repeating (a network lies between)."""

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop), fewer where the object ends before `stop`."""

    def size(self, path: str) -> int: ...
    def create(self, path: str, data: Data) -> None:
        """Atomic and exclusive: of any number of callers exactly one returns, the others see FileExistsError."""

    def replace(self, path: str, data: Data) -> None: ...
    def touch(self, path: str, expected: bytes) -> bool:
        """Set the modification time to now if the content is `expected`; False if it is another or there is none."""

    def delete(self, path: str) -> None:
        """A missing object is no error."""

    def delete_folders(self, folder: str) -> None:
        """Remove empty folders at and under `folder`, where the storage has folders at all."""

    def entries(self, folder: str) -> list[Entry]:
        """Names right under `folder`, in any order, hidden ones included; empty if there is no such folder."""

    def modified(self, path: str) -> float: ...


def open_backend(root: str, options: Mapping[str, Any]) -> Backend:
    """The backend for a root URI: `file:`, `memory:`, `s3:`, `gs:`, `az:` or a bare path.

    Raises ConfigError for a scheme that cannot hold a run, a missing driver package or a missing bucket.
    """
    scheme = scheme_of(root)
    if scheme not in _KINDS:
        raise ConfigError(f"root: {root!r} has the scheme {scheme!r}; known: {', '.join(sorted(_KINDS))} or a path")
    return _KINDS[scheme](root, options)


def scheme_of(root: str) -> str:
    """`s3://bucket/run` -> `s3`; a bare path -> `file`."""
    if not root.strip():
        raise ConfigError("root: is empty; give a path or a URI such as s3://bucket/run")
    return urlsplit(root).scheme.lower() or "file"


# Imported when asked for: a run on local disk must not need s3fs, nor wait for its import.
def _local(root: str, options: Mapping[str, Any]) -> Backend:
    from shards.local import LocalBackend

    return LocalBackend(root)


def _memory(root: str, options: Mapping[str, Any]) -> Backend:
    from shards.memory import MemoryBackend

    return MemoryBackend(root)


def _objects(root: str, options: Mapping[str, Any]) -> Backend:
    from shards.objects import open_object_store

    return open_object_store(root, options)


_KINDS: dict[str, Callable[[str, Mapping[str, Any]], Backend]] = {
    "file": _local,
    "local": _local,
    "memory": _memory,
    "s3": _objects,
    "gs": _objects,
    "az": _objects,
}
