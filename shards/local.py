"""Local and mounted file systems (`file:` or a bare path), by the two atomic calls that POSIX has: link and rename."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import ConfigError
from shards.backend import HIDDEN, Data, Entry


class LocalBackend:
    """Files are written under a hidden name in the target's own folder, flushed to disk, then linked or renamed.

    `open(path, "xb")` would be exclusive too, but it shows readers the empty and then the half-written file.
    """

    parallel = 1
    remote = False

    def __init__(self, root: str) -> None:
        self.folder = local_path(root)

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        with (self.folder / path).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def size(self, path: str) -> int:
        status = (self.folder / path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise FileNotFoundError(path)  # as an object store, which has no folders
        return status.st_size

    def create(self, path: str, data: Data) -> None:
        with self._written(path, data) as temporary:
            _link(temporary, self.folder / path)

    def replace(self, path: str, data: Data) -> None:
        with self._written(path, data) as temporary:
            temporary.replace(self.folder / path)

    def touch(self, path: str, expected: bytes) -> bool:
        # Through one descriptor: if the file is made anew in between, the dead one is touched, not another's.
        try:
            with (self.folder / path).open("rb") as file:
                if file.read() != expected:
                    return False
                os.utime(file.fileno())  # without a time the server of a network file system sets its own
                return os.fstat(file.fileno()).st_nlink > 0
        except FileNotFoundError:
            return False

    def delete(self, path: str) -> None:
        (self.folder / path).unlink(missing_ok=True)

    def delete_folders(self, folder: str) -> None:
        for found, _, _ in os.walk(self.folder / folder, topdown=False):
            try:
                Path(found).rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise

    def entries(self, folder: str) -> list[Entry]:
        try:
            with os.scandir(self.folder / folder) as found:
                return [entry for one in found if (entry := _entry(one)) is not None]
        except FileNotFoundError:
            return []

    def modified(self, path: str) -> float:
        return (self.folder / path).stat().st_mtime

    @contextmanager
    def _written(self, path: str, data: Data) -> Iterator[Path]:
        """A flushed hidden file beside `path`; whatever happens (a full disk, say) it is gone afterwards."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f"{HIDDEN}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def local_path(root: str) -> Path:
    """`file:///data/run`, `file:run`, `~/run` and `run` as a path of this machine."""
    for prefix in ("file://", "file:", "local://", "local:"):
        root = root.removeprefix(prefix)
    return Path(root).expanduser().absolute()


def _link(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        # Over NFS a repeated request can answer "exists" about the link it made itself; the count of links tells.
        if temporary.stat().st_nlink != 2:
            raise
    except PermissionError as error:
        raise ConfigError(
            f"root: cannot make a hard link at {target} ({error.strerror}); the folder must be writable and its file "
            "system must have hard links (ext4, xfs, apfs, NFS do, FAT does not): use another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """The name itself survives a power cut only once the folder is flushed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(found: os.DirEntry[str]) -> Entry | None:
    try:
        status = found.stat()
    except FileNotFoundError:  # deleted while we listed
        return None
    return Entry(found.name, status.st_size, status.st_mtime, folder=stat.S_ISDIR(status.st_mode))
