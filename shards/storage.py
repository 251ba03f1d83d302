"""One run's root, wherever it is: bytes in and out, exclusive creates, fresh listings, and retries that back off."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from shards.backend import HIDDEN, Backend, Data, Entry, open_backend
from shards.faults import DEFAULT_RETRY, Retry, in_words, is_final

T = TypeVar("T")
U = TypeVar("U")
Names = list[str]  # in the class below `list` is a method
Entries = list[Entry]

RANGE = 8 << 20
"""Bytes per request: large enough to hide latency, small enough that a cut connection costs little."""


class Storage:
    """The files under one root URI: `file:`, `memory:`, `s3:`, `gs:`, `az:` or a bare path.

    Paths are relative, with `/`. Readers never see half an object. The object may be pickled and used in any thread
    and in forked processes: it connects on first use, once per process.

    Raises (all methods): FileNotFoundError, and FileExistsError from `create`; ConfigError for a root that can never
    work (scheme, bucket, permission); RetryableError when the store still fails after the retries, or a disk is full.
    """

    def __init__(
        self,
        root: str,
        options: Mapping[str, Any] | None = None,
        *,
        retry: Retry = DEFAULT_RETRY,
        sleep: Callable[[float], None] = time.sleep,
        connect: Callable[[str, Mapping[str, Any]], Backend] = open_backend,
    ) -> None:
        self.root = root.rstrip("/") or root
        self.options = dict(options or {})
        self._retry = retry
        self._sleep = sleep
        self._connect = connect
        self._backend: Backend | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"Storage({self.root!r})"

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: everything but the connection."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_backend", "_pid")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _backend=None, _pid=0)

    def read(self, path: str) -> bytes:
        """The whole object, in ranges of 8 MiB."""
        head = self._call("read", path, lambda backend: backend.read_range(path, 0, RANGE))
        if len(head) < RANGE:
            return head
        return head + b"".join(self.stream(path, RANGE, self.size(path)))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length); fewer only where the object ends before that."""
        if length == 0:
            return b""  # HTTP has no empty range
        if length <= RANGE:
            return self._range(path, start, start + length)
        return b"".join(self.stream(path, start, start + length))

    def stream(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) in pieces of 8 MiB and in order, fetched a few ahead where that is quicker."""
        pieces = [(at, min(at + RANGE, stop)) for at in range(start, stop, RANGE)]
        ahead = self.backend.parallel
        if ahead == 1 or len(pieces) < 2:
            yield from (self._range(path, *piece) for piece in pieces)
            return
        with ThreadPoolExecutor(ahead, "reverie-read") as pool:
            pending = [pool.submit(self._range, path, *piece) for piece in pieces[:ahead]]
            try:
                for index in range(len(pieces)):
                    data = pending.pop(0).result()
                    if index + ahead < len(pieces):
                        pending.append(pool.submit(self._range, path, *pieces[index + ahead]))
                    yield data
            finally:
                for future in pending:
                    future.cancel()

    def create(self, path: str, data: Data) -> None:
        """Atomic and exclusive: of any number of callers one returns, the others get FileExistsError."""
        self._call("create", path, lambda backend: backend.create(path, data))

    def replace(self, path: str, data: Data) -> None:
        """Atomic: readers see the old bytes or the new ones."""
        self._call("write", path, lambda backend: backend.replace(path, data))

    def touch(self, path: str, expected: bytes) -> bool:
        """Set the modification time to now if the content is still `expected`; otherwise change nothing: False."""
        return self._call("write", path, lambda backend: backend.touch(path, expected))

    def delete(self, path: str, missing_ok: bool = True) -> None:
        if not missing_ok:
            self.size(path)
        self._call("delete", path, lambda backend: backend.delete(path))

    def list(self, folder: str) -> Names:
        """Names right under `folder`, sorted, asked from the store every time; none if the folder is not there."""
        return [entry.name for entry in self.entries(folder)]

    def entries(self, folder: str, *, hidden: bool = False) -> Entries:
        """As `list`, with size and modification time from the same request; `hidden` adds work in progress."""
        found = self._call("list", folder, lambda backend: backend.entries(folder))
        shown = (entry for entry in found if hidden or not entry.name.startswith(HIDDEN))
        return sorted(shown, key=lambda entry: entry.name)

    def exists(self, path: str) -> bool:
        """Whether there is an object (not just a folder) of that name."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes."""
        return self._call("read", path, lambda backend: backend.size(path))

    def modified(self, path: str) -> float:
        """When the object was last written, in seconds since the epoch by the clock of the store."""
        return self._call("read", path, lambda backend: backend.modified(path))

    def now(self) -> float:
        """The clock of the store, read off a hidden object written for it: workers' own clocks may be wrong."""
        path = f"{HIDDEN}clock-{secrets.token_hex(8)}"
        try:
            self._call("write", path, lambda backend: backend.replace(path, b"clock"))
            return self._call("read", path, lambda backend: backend.modified(path))
        finally:
            self._call("delete", path, lambda backend: backend.delete(path))

    def put_tree(self, local: Path, path: str) -> None:
        """Upload a folder, file by file (a checkpoint). Not atomic: whoever writes it adds a marker afterwards."""
        files = [one for one in sorted(local.rglob("*")) if one.is_file()]
        if not files:
            raise FileNotFoundError(f"{local} holds no files to upload")
        self.each(lambda file: self._put(file, f"{path}/{file.relative_to(local).as_posix()}"), files)

    def get_tree(self, path: str, local: Path) -> None:
        """Download a folder, file by file; each appears under its name only when it is whole."""
        found = list(self.walk(path))
        if not found:
            raise FileNotFoundError(f"{self.url(path)} is not there or empty")
        self.each(lambda name: self._get(f"{path}/{name}", local / name), found)

    def delete_tree(self, path: str) -> None:
        """Delete every object under a folder (an old checkpoint)."""
        self.each(lambda name: self.delete(f"{path}/{name}"), list(self.walk(path)))
        self._call("delete", path, lambda backend: backend.delete_folders(path))

    def walk(self, folder: str) -> Iterator[str]:
        """Paths of all objects under `folder`, relative to it."""
        for entry in self.entries(folder):
            if not entry.folder:
                yield entry.name
            else:
                yield from (f"{entry.name}/{below}" for below in self.walk(f"{folder}/{entry.name}"))

    def each(self, work: Callable[[T], U], items: Iterable[T]) -> Sequence[U]:
        """`work` on every item, several at once where a network lies between; the results in order."""
        with ThreadPoolExecutor(self.backend.parallel, "reverie-each") as pool:
            return list(pool.map(work, items))

    def url(self, path: str) -> str:
        """The path as a person would write it."""
        return f"{self.root}/{path}".rstrip("/")

    @property
    def backend(self) -> Backend:
        """The connection of this process: made on first use, and again after a fork."""
        return self._call("open", "", lambda backend: backend)

    def _opened(self) -> Backend:
        if self._backend is None or self._pid != os.getpid():
            self._backend = self._connect(self.root, self.options)
            self._pid = os.getpid()
        return self._backend

    def _range(self, path: str, start: int, stop: int) -> bytes:
        return self._call("read", path, lambda backend: _whole_range(backend, path, start, stop))

    def _put(self, local: Path, path: str) -> None:
        with mapped(local) as data:
            self.replace(path, data)

    def _get(self, path: str, local: Path) -> None:
        partial = local.with_name(f"{HIDDEN}{local.name}")
        size = self.size(path)
        with in_words("write", str(local)):
            local.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                for piece in self.stream(path, 0, size):
                    file.write(piece)
            partial.replace(local)

    def _call(self, action: str, path: str, call: Callable[[Backend], T]) -> T:
        """`call`, again after a pause where a network lies between, and with errors that a person understands."""
        _check(path)
        failures = 0
        with in_words(action, self.url(path)):
            while True:
                try:
                    return call(self._opened())
                except Exception as error:
                    failures += 1
                    remote = self._backend is None or self._backend.remote
                    if is_final(error) or not remote or failures >= self._retry.tries:
                        raise
                self._sleep(self._retry.pause(failures))


@contextmanager
def mapped(local: Path) -> Iterator[Data]:
    """The bytes of a file without holding them in memory."""
    with local.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _whole_range(backend: Backend, path: str, start: int, stop: int) -> bytes:
    """The range, or an error that is tried again if bytes are missing that the object has."""
    data = backend.read_range(path, start, stop)
    if len(data) < stop - start and start + len(data) < backend.size(path):
        raise OSError(errno.EIO, f"got {len(data)} of {stop - start} bytes from byte {start}")
    return data


def _check(path: str) -> None:
    """Paths are made by this project, never by a user: a wrong one is a bug."""
    parts = path.split("/") if path else []
    assert not any(part in ("", ".", "..") for part in parts), f"not a path under a root: {path!r}"
