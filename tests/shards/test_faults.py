"""Failures of the storage: tried again when that can help, told in words when not, and no half-written shard."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ConfigError, DataError, RetryableError
from shards import Storage
from shards.faults import Retry, is_final, worded
from shards.memory import MemoryBackend
from tests.shards.scenes import commit_images, image_samples

ROOT = Path(__file__).parents[2]


class Flaky(MemoryBackend):
    """A store behind a bad network: its first calls fail."""

    remote = True

    def __init__(self, root: str, failures: list[Exception]) -> None:
        super().__init__(root)
        self.failures = failures

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return super().read_range(path, start, stop)


def flaky(failures: list[Exception], pauses: list[float]) -> Storage:
    backend = Flaky("memory://flaky", failures)
    backend.replace("a", b"1")
    return Storage("memory://flaky", sleep=pauses.append, connect=lambda root, options: backend)


def test_a_passing_failure_is_not_noticed() -> None:
    pauses: list[float] = []
    storage = flaky([ConnectionResetError("reset"), OSError(errno.EBUSY, "slow down"), TimeoutError()], pauses)
    assert storage.read("a") == b"1"
    assert len(pauses) == 3


def test_pauses_grow_and_differ() -> None:
    retry = Retry(first=0.5, most=15.0)
    assert [retry.pause(n, chance=lambda: 1.0) for n in (1, 2, 3, 6, 20)] == [0.5, 1.0, 2.0, 15.0, 15.0]
    assert retry.pause(3, chance=lambda: 0.0) == 1.0


def test_a_lasting_failure_ends_as_retryable_and_says_where() -> None:
    pauses: list[float] = []
    storage = flaky([OSError(errno.EIO, "broken")] * 50, pauses)
    with pytest.raises(RetryableError, match=r"cannot read memory://flaky/a: OSError: .*broken; the storage or"):
        storage.read("a")
    assert len(pauses) == Retry().tries - 1


def test_what_cannot_change_is_not_tried_again() -> None:
    pauses: list[float] = []
    storage = flaky([PermissionError(errno.EACCES, "forbidden")], pauses)
    with pytest.raises(ConfigError, match=r"cannot read memory://flaky/a: access refused .*check the credentials"):
        storage.read("a")
    assert pauses == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_retryable_and_says_what_to_do(number: int) -> None:
    told = worded(OSError(number, "full"), "create", "/data/run/images/0.tar")
    assert isinstance(told, RetryableError)
    assert "/data/run/images/0.tar" in str(told)
    assert "Free space" in str(told)
    assert is_final(OSError(number, "full"))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_no_half_written_shard(tiny: Path) -> None:
    storage = Storage(str(tiny))
    small = commit_images(storage, "000000", count=10)
    with pytest.raises(RetryableError, match=rf"cannot create {tiny}/images/000001-a1.tar: no space left"):
        commit_images(storage, "000001", count=400)
    assert storage.entries("images", hidden=True) == [
        entry for entry in storage.entries("images") if entry.name in (small.object, "000000.json")
    ]
    commit_images(storage, "000001", count=10)  # the small one still fits: nothing was left behind


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_temporary_folder_is_named(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    code = (
        "from tests.shards.scenes import commit_images; from shards import Storage\n"
        f"commit_images(Storage({str(root)!r}), count=400)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tiny)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"RetryableError: cannot write a temporary file in {tiny}: no space left" in done.stderr
    assert not (root / "images").exists()


def test_a_limit_on_file_sizes_leaves_no_half_written_shard(local: Storage) -> None:
    """What a quota does to a worker that is not root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RetryableError, match=r"file size limit reached"):
            local.create("images/000000-a.tar", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert local.entries("images", hidden=True) == []


def test_a_read_only_root_is_a_config_error(local: Storage, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            pytest.skip("cannot mount a read-only file system here")
        try:
            with pytest.raises(ConfigError, match=r"cannot create .*images/a: .*Read-only"):
                local.create("images/a", b"")
        finally:
            subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    else:
        tmp_path.chmod(0o500)
        with pytest.raises(ConfigError, match=r"cannot create .*images/a: access refused"):
            local.create("images/a", b"")


def test_errors_of_the_data_pass_unchanged() -> None:
    error = DataError("bad shard")
    assert worded(error, "read", "x") is error
    assert len(image_samples(1)) == 1
