"""The `memory:` root: fsspec's in-process store behind one lock. For tests and notebooks; it ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from shards.backend import Data, Entry

# fsspec keeps one store per process, checks before it creates, and shares one file position between readers.
_LOCK = threading.RLock()


class MemoryBackend:
    """What `fsspec.open("memory://...")` sees, made safe for threads."""

    parallel = 1
    remote = False

    def __init__(self, root: str) -> None:
        self.fs: MemoryFileSystem = fsspec.filesystem("memory")
        self.folder = "/" + root.split(":", 1)[1].strip("/")

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        with _LOCK:
            return bytes(self.fs.cat_file(self._full(path), start=start, end=stop))

    def size(self, path: str) -> int:
        with _LOCK:
            if not self.fs.isfile(self._full(path)):
                raise FileNotFoundError(path)
            return int(self.fs.info(self._full(path))["size"])

    def create(self, path: str, data: Data) -> None:
        with _LOCK:
            if self.fs.exists(self._full(path)):
                raise FileExistsError(path)
            self.fs.pipe_file(self._full(path), bytes(data))

    def replace(self, path: str, data: Data) -> None:
        with _LOCK:
            self.fs.pipe_file(self._full(path), bytes(data))

    def touch(self, path: str, expected: bytes) -> bool:
        with _LOCK:
            held = bool(self.fs.isfile(self._full(path)) and self.fs.cat_file(self._full(path)) == expected)
            if held:
                self.replace(path, expected)
            return held

    def delete(self, path: str) -> None:
        with _LOCK:
            self.fs.store.pop(self._full(path), None)

    def delete_folders(self, folder: str) -> None:
        """There are none."""

    def entries(self, folder: str) -> list[Entry]:
        with _LOCK:
            try:
                found = self.fs.ls(self._full(folder), detail=True)
            except FileNotFoundError:
                return []
        return [_entry(one) for one in found]

    def modified(self, path: str) -> float:
        with _LOCK:
            return float(self.fs.modified(self._full(path)).timestamp())

    def _full(self, path: str) -> str:
        return "/".join(part for part in (self.folder.rstrip("/"), path) if part) or "/"


def _entry(found: Mapping[str, Any]) -> Entry:
    name = found["name"].rsplit("/", 1)[1]
    return Entry(name, found["size"], found.get("created", 0.0), folder=found["type"] == "directory")
