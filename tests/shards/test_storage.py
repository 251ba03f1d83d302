"""One contract for every kind of storage: exclusive creates, whole objects, fresh listings, errors in words."""

import multiprocessing
import os
import pickle
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import ConfigError
from shards import Storage
from shards.storage import RANGE
from tests.servers.s3 import S3Server, options


def test_what_is_created_is_read_back(storage: Storage) -> None:
    storage.create("folder/a.json", b"{}")
    assert storage.read("folder/a.json") == b"{}"
    assert storage.size("folder/a.json") == 2
    assert storage.exists("folder/a.json")


@pytest.mark.parametrize("second", [b"theirs", b"", b"mine"])
def test_creating_twice_is_refused_and_changes_nothing(storage: Storage, second: bytes) -> None:
    """Also for empty data, and for the very same data: exactly one caller is the creator."""
    storage.create("a/b", b"mine")
    with pytest.raises(FileExistsError):
        storage.create("a/b", second)
    assert storage.read("a/b") == b"mine"


def test_of_many_threads_one_creates(storage: Storage) -> None:
    def claim(number: int, name: str) -> bool:
        try:
            storage.create(name, str(number).encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for race in range(20):
            winners = [number for number, won in enumerate(pool.map(claim, range(8), [f"race/{race}"] * 8)) if won]
            assert [int(storage.read(f"race/{race}"))] == winners


def test_an_empty_object_is_an_object(storage: Storage) -> None:
    storage.create("empty", b"")
    assert storage.read("empty") == b""
    assert storage.read_range("empty", 0, 10) == b""
    with pytest.raises(FileExistsError):
        storage.create("empty", b"")


def test_replacing_shows_the_old_or_the_new(storage: Storage) -> None:
    storage.replace("latest", b"step-1")
    storage.replace("latest", b"step-2")
    assert storage.read("latest") == b"step-2"


def test_a_missing_object_is_file_not_found(storage: Storage) -> None:
    for ask in (storage.read, storage.size, storage.modified, lambda path: storage.delete(path, missing_ok=False)):
        with pytest.raises(FileNotFoundError):
            ask("no/such")
    with pytest.raises(FileNotFoundError):
        storage.read_range("no/such", 0, 4)
    assert not storage.exists("no/such")
    storage.delete("no/such")


def test_a_folder_is_not_an_object(storage: Storage) -> None:
    storage.create("folder/a", b"1")
    assert not storage.exists("folder")
    with pytest.raises(FileNotFoundError):
        storage.size("folder")


def test_a_listing_has_the_names_of_one_folder_in_order(storage: Storage) -> None:
    for path in ("x/b", "x/a", "x/deeper/c", "y/d"):
        storage.create(path, path.encode())
    assert storage.list("x") == ["a", "b", "deeper"]
    assert storage.list("x/deeper") == ["c"]
    assert storage.list("nowhere") == []
    assert [(entry.name, entry.size, entry.folder) for entry in storage.entries("x")] == [
        ("a", 3, False),
        ("b", 3, False),
        ("deeper", 0, True),
    ] or storage.root.startswith("/")  # a local folder has a size of its own


def test_a_listing_is_never_remembered(storage: Storage) -> None:
    """Another worker's object must be seen at once, its deletion too."""
    other = pickle.loads(pickle.dumps(storage))
    assert storage.list("x") == []
    other.create("x/a", b"1")
    assert storage.list("x") == ["a"]
    assert storage.exists("x/a")
    other.delete("x/a")
    assert storage.list("x") == []
    assert not storage.exists("x/a")


def test_work_in_progress_is_hidden(storage: Storage) -> None:
    storage.create("x/.tmp-1", b"half")
    storage.create("x/a", b"whole")
    assert storage.list("x") == ["a"]
    assert [entry.name for entry in storage.entries("x", hidden=True)] == [".tmp-1", "a"]


def test_ranges_end_where_the_object_ends(storage: Storage) -> None:
    storage.create("data", bytes(range(100)))
    assert storage.read_range("data", 10, 5) == bytes(range(10, 15))
    assert storage.read_range("data", 95, 50) == bytes(range(95, 100))
    assert storage.read_range("data", 100, 1) == b""
    assert storage.read_range("data", 5, 0) == b""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 400), length=st.integers(0, 400))
def test_a_range_is_what_slicing_gives(storage: Storage, start: int, length: int) -> None:
    data = bytes(index % 251 for index in range(300))
    storage.replace("sliced", data)
    assert storage.read_range("sliced", start, length) == data[start : start + length]


def test_a_large_object_travels_in_pieces(storage: Storage) -> None:
    """More than one range to read, more than one part to upload."""
    data = random.Random(1).randbytes(33 << 20)
    storage.create("large", data)
    assert storage.read("large") == data
    assert storage.read_range("large", 5, 3 * RANGE) == data[5 : 5 + 3 * RANGE]
    assert b"".join(storage.stream("large", 7, len(data))) == data[7:]
    with pytest.raises(FileExistsError):
        storage.create("large", data)


def test_a_reader_may_stop_early(storage: Storage) -> None:
    storage.create("large", bytes(5 * RANGE))
    assert len(next(storage.stream("large", 0, 5 * RANGE))) == RANGE


def test_time_is_the_time_of_the_storage(storage: Storage) -> None:
    before = storage.now()
    storage.create("a", b"1")
    assert abs(storage.modified("a") - time.time()) < 3
    assert before - 1 <= storage.modified("a") <= storage.now() + 1
    assert storage.entries("")[0].modified == pytest.approx(storage.modified("a"), abs=1)


def test_touching_moves_the_time_of_ones_own_object_only(storage: Storage) -> None:
    storage.create("lease", b"mine")
    before = storage.modified("lease")
    time.sleep(1.1)  # object stores tell whole seconds
    assert not storage.touch("lease", b"not mine")
    assert storage.modified("lease") == before
    assert storage.touch("lease", b"mine")
    assert storage.modified("lease") > before
    assert storage.read("lease") == b"mine"
    storage.delete("lease")
    assert not storage.touch("lease", b"mine")
    assert not storage.exists("lease")


def test_a_tree_goes_up_and_comes_back(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "step-1"
    (source / "optimizer" / "rank").mkdir(parents=True)
    (source / "model.safetensors").write_bytes(random.Random(2).randbytes(RANGE + 5))
    (source / "optimizer" / "rank" / "0.pt").write_bytes(b"zero")
    (source / "empty").write_bytes(b"")
    storage.put_tree(source, "checkpoints/run/step-1")
    storage.get_tree("checkpoints/run/step-1", tmp_path / "back")
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    back = tmp_path / "back"
    assert sorted(path.relative_to(back) for path in back.rglob("*") if path.is_file()) == names
    assert all((back / name).read_bytes() == (source / name).read_bytes() for name in names)
    storage.delete_tree("checkpoints/run/step-1")
    assert storage.list("checkpoints/run") == []


def test_a_tree_that_is_not_there_says_so(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="checkpoints/none is not there"):
        storage.get_tree("checkpoints/none", tmp_path / "back")


def _read_in_child(storage: Storage, path: str) -> None:
    os._exit(0 if storage.read(path) == b"parent" else 1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_storage_works_in_a_forked_process(storage: Storage) -> None:
    """After use in the parent: data loaders fork, and s3fs refuses an inherited connection."""
    storage.create("a", b"parent")
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(storage, "a"))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_a_storage_travels_to_another_process(storage: Storage) -> None:
    if storage.root.startswith("memory:"):
        pytest.skip("memory ends with the process")
    storage.create("a", b"parent")
    code = "import pickle, sys; assert pickle.load(sys.stdin.buffer).read('a') == b'parent'"
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(storage), check=True, timeout=100)


def test_memory_is_what_fsspec_sees() -> None:
    Storage("memory://seen").create("a/b", b"1")
    assert fsspec.filesystem("memory").cat_file("/seen/a/b") == b"1"


@pytest.mark.parametrize("write", ["file://{}", "file:{}", "{}", "{}/"])
def test_a_local_root_may_be_written_in_several_ways(tmp_path: Path, write: str) -> None:
    Storage(write.format(tmp_path)).create("a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_relative_root_starts_where_the_command_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Storage("runs/nano").create("a", b"1")
    assert (tmp_path / "runs" / "nano" / "a").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("ftp://host/run", "has the scheme 'ftp'; known: az, file, gs, local, memory, s3"),
        ("http://host/run", "'http'"),
        ("s3://", "names no bucket; write s3://bucket/run"),
        ("s3:bucket/run", "names no bucket"),
        ("", "is empty"),
    ],
)
def test_a_root_that_can_never_work_says_why(root: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Storage(root).list("images")


def test_a_root_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file/images/a: .*correct the root"):
        Storage(str(tmp_path / "file")).create("images/a", b"")


def test_nothing_is_asked_before_it_is_used() -> None:
    Storage("s3://no-such-bucket/run")


@pytest.mark.s3
@pytest.mark.timeout(900)
def test_a_missing_bucket_is_named(s3: S3Server) -> None:
    with pytest.raises(ConfigError, match="no bucket 'typo'"):
        Storage("s3://typo/run", s3.options).list("images")


@pytest.mark.s3
@pytest.mark.timeout(900)
def test_wrong_credentials_are_a_config_error(s3: S3Server) -> None:
    wrong = Storage(s3.root("run"), {**options(s3.endpoint), "secret": "wrong"})
    with pytest.raises(ConfigError, match="access refused"):
        wrong.create("a", b"1")
