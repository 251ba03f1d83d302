"""Object stores through fsspec: `s3:` (tested against a real server), `gs:` and `az:` (same code, their own options).

Listings are never cached: a name that another worker made must be seen. Creating is exclusive on the server
(`If-None-Match: *`, `ifGenerationMatch=0`, `overwrite=False`); a server that ignores the condition is found out by a
probe before the first create, since there every worker would win every claim.
"""

from __future__ import annotations

import errno
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import fsspec

from config.errors import ConfigError
from shards.backend import HIDDEN, Data, Entry, scheme_of

_EXTRA = {"s3": "s3", "gs": "gcs", "az": "azure"}
_MODIFIED = {"s3": "LastModified", "gs": "mtime", "az": "last_modified"}
PART = 16 << 20
"""Bytes per part of an upload; more where S3's 10,000 parts would not do."""
_IN_PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "s3": lambda size: {"chunksize": max(PART, size // 9000), "max_concurrency": 4},
    "gs": lambda size: {"chunksize": PART},
    "az": lambda size: {"max_concurrency": 4},
}
# Metadata on a created object that says whose it is. adlfs sets metadata itself and takes none.
_MARK: dict[str, Callable[[str], dict[str, Any]]] = {
    "s3": lambda token: {"Metadata": {"creation": token}},
    "gs": lambda token: {"metadata": {"creation": token}},
    "az": lambda token: {},
}


def open_object_store(root: str, options: Mapping[str, Any]) -> ObjectBackend:
    """Connects, and says so if the driver is not installed or the bucket is not there (ConfigError)."""
    scheme = scheme_of(root)
    bucket, _, prefix = root.split("://", 1)[-1].strip("/").partition("/")
    if not bucket or "://" not in root:
        raise ConfigError(f"root: {root!r} names no bucket; write {scheme}://bucket/run")
    try:
        fs = fsspec.filesystem(scheme, **{"use_listings_cache": False, **options})
    except ImportError as error:
        raise ConfigError(
            f"root: {scheme}: needs a package: pip install 'reverie[{_EXTRA[scheme]}]' ({error})"
        ) from error
    try:
        fs.info(bucket)
    except FileNotFoundError as error:
        raise ConfigError(f"root: there is no bucket {bucket!r} for {root}; create it, or correct the name") from error
    except PermissionError:
        pass  # a policy may forbid to ask about the bucket and allow the objects; those calls will tell
    return ObjectBackend(fs, scheme, f"{bucket}/{prefix}".rstrip("/"))


class ObjectBackend:
    """One prefix of one bucket."""

    parallel = 4  # one connection ends at its own speed, four give about 2.5 times that
    remote = True

    def __init__(self, fs: Any, scheme: str, folder: str) -> None:
        self.fs = fs
        self.scheme = scheme
        self.folder = folder
        self._probed = False
        self._probing = threading.Lock()

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        try:
            return bytes(self.fs.cat_file(self._full(path), start=start, end=stop))
        except FileNotFoundError:
            raise
        except Exception:
            # "Range not satisfiable" has another shape in every driver; the size settles it.
            if start >= self.size(path):
                return b""
            raise

    def size(self, path: str) -> int:
        found = self.fs.info(self._full(path))
        if found["type"] == "directory":
            raise FileNotFoundError(path)
        return int(found["size"])

    def create(self, path: str, data: Data) -> None:
        self._probe_once()
        self._create(path, data)

    def replace(self, path: str, data: Data) -> None:
        self._send(path, data)

    def touch(self, path: str, expected: bytes) -> bool:
        # An object store cannot touch, so the same bytes are written again. On s3 only onto the version that was
        # read: ours. gcsfs and adlfs offer no such condition; there a lease lost at that very moment costs double work.
        for _ in range(3):
            try:
                seen = self.fs.info(self._full(path))
                if bytes(self.fs.cat_file(self._full(path))) != expected:
                    return False
                condition = {"IfMatch": seen["ETag"]} if self.scheme == "s3" else {}
                self._send(path, expected, **condition)
                return True
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno != errno.EINVAL:  # s3fs's word for "precondition failed": look again
                    raise
        return False

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.fs.rm_file(self._full(path))

    def delete_folders(self, folder: str) -> None:
        """There are none."""

    def entries(self, folder: str) -> list[Entry]:
        full = self._full(folder)
        self.fs.invalidate_cache()  # adlfs keeps a cache whatever it is told
        try:
            found = self.fs.ls(full, detail=True)
        except FileNotFoundError:
            return []
        return [self._entry(one) for one in found if one["name"].rstrip("/") != full]

    def modified(self, path: str) -> float:
        return float(self.fs.modified(self._full(path)).timestamp())

    def _entry(self, found: Mapping[str, Any]) -> Entry:
        name = found["name"].rstrip("/").rsplit("/", 1)[1]
        if found["type"] == "directory":
            return Entry(name, folder=True)
        return Entry(name, int(found["size"]), float(found[_MODIFIED[self.scheme]].timestamp()))

    def _create(self, path: str, data: Data) -> None:
        """A reply can be lost and the request repeated, which then finds its own object: the mark on it tells."""
        token = secrets.token_hex(16)
        try:
            self._send(path, data, mode="create", **_MARK[self.scheme](token))
        except FileExistsError:
            if not self._made_by(path, token):
                raise
        except OSError as error:
            # Servers whose refusal lacks s3's <Condition> element come as EINVAL ("precondition failed").
            if error.errno != errno.EINVAL or not self._there(path):
                raise
            if not self._made_by(path, token):
                raise FileExistsError(path) from error

    def _send(self, path: str, data: Data, **more: Any) -> None:
        """Small data in one request, large in parts that appear together when the last has arrived."""
        if len(data) < 2 * PART:
            self.fs.pipe_file(self._full(path), bytes(data), **more)
        else:
            self.fs.pipe_file(self._full(path), data, **_IN_PARTS[self.scheme](len(data)), **more)

    def _made_by(self, path: str, token: str) -> bool:
        if self.scheme == "s3":
            return bool(self.fs.metadata(self._full(path)).get("creation") == token)
        if self.scheme == "gs":
            return bool(self.fs.info(self._full(path)).get("metadata", {}).get("creation") == token)
        return False

    def _there(self, path: str) -> bool:
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def _probe_once(self) -> None:
        with self._probing:
            if not self._probed:
                self._probe()
                self._probed = True

    def _probe(self) -> None:
        path = f"{HIDDEN}probe-{secrets.token_hex(8)}"
        self._create(path, b"1")
        try:
            self._create(path, b"2")
        except FileExistsError:
            return
        finally:
            self.delete(path)
        raise ConfigError(
            f"root: the store at {self.scheme}://{self.folder} created the same object twice: it ignores create-only "
            "writes (If-None-Match), so two workers could hold one unit. Use a store that honours them (AWS S3, "
            "MinIO, Ceph, SeaweedFS, versitygw, GCS, Azure), or a newer version of this one"
        )

    def _full(self, path: str) -> str:
        return f"{self.folder}/{path}".rstrip("/")
