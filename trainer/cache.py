"""Local copies of remote shards, in a folder that does not grow beyond a number of bytes.

Processes of one host share the folder: a shard is fetched by one of them while the others wait, and appears under its
name when it is whole. The least recently used files go first, whichever run they belong to.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards import Storage
from trainer.dataset import STAGE, Shard


class ShardCache:
    """Shards as local files `folder`/`dataset`/images/<name in the remote>, at most `limit` bytes under `folder`."""

    def __init__(self, remote: Storage, folder: Path, dataset: str, limit: int) -> None:
        self.remote, self.folder, self.limit = remote, folder, limit
        self.own = folder / dataset
        self.local = Storage(str(self.own))

    def fetched(self, shard: Shard) -> Storage:
        """Where to read the shard from: the folder, which may fetch it first; the remote if it cannot fit there."""
        path = self._path(shard)
        if shard.bytes > self.limit:
            return self.remote
        if not _used(path, shard.bytes):
            with self._lock():
                if not _used(path, shard.bytes):
                    self._make_room(shard.bytes)
                    self._fetch(shard, path)
        return self.local

    def forget(self, shard: Shard) -> None:
        """Delete a copy that turned out to be wrong."""
        self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: Shard) -> Path:
        return self.own / STAGE / shard.object

    def _fetch(self, shard: Shard, path: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                for piece in self.remote.stream(f"{STAGE}/{shard.object}", 0, shard.bytes):
                    file.write(piece)
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _make_room(self, wanted: int) -> None:
        files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self.folder.rglob("*.tar"))
        held = sum(size for _, size, _ in files)
        for _, size, file in files:
            if held + wanted <= self.limit:
                return
            file.unlink(missing_ok=True)
            held -= size

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time; the kernel lets go of it when a process dies."""
        (self.own / STAGE).mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _used(path: Path, size: int) -> bool:
    """Whether the copy is there and whole; if so, mark it as used now."""
    with suppress(FileNotFoundError):
        if path.stat().st_size == size:
            os.utime(path)
            return True
    return False
