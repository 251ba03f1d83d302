"""A real S3 server behind a bad network: nothing is lost, nothing is made twice, and a careless store is found out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from config import ConfigError, RetryableError
from shards import Storage, read_samples
from shards.faults import Retry
from shards.storage import RANGE
from tests.servers.careless import Manner, careless_s3
from tests.servers.proxy import Fault, Rule, faulty_proxy
from tests.servers.running import free_port
from tests.servers.s3 import S3Server, options
from tests.shards.scenes import commit_images, image_samples

pytestmark = [pytest.mark.s3, pytest.mark.timeout(900)]

QUICK = Retry(tries=6, first=0.01, most=0.05)

# Of the three layers that try again (botocore, s3fs, ours) the first waits longest; here it only costs time.
IMPATIENT = {"config_kwargs": {"retries": {"max_attempts": 0}}}


@contextmanager
def behind(s3: S3Server, name: str, rule: Rule) -> Iterator[Storage]:
    """A storage that reaches the server through a network that fails by `rule`."""
    port = urlsplit(s3.endpoint).port
    assert port is not None
    with faulty_proxy(port, rule) as endpoint:
        yield Storage(s3.root(name), options(endpoint) | IMPATIENT, retry=QUICK)


def times(count: int, starts: str, fault: Fault) -> Rule:
    """The fault strikes the first `count` requests whose line starts so."""
    left = [count]

    def rule(line: str) -> Fault | None:
        if line.startswith(starts) and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return rule


@pytest.mark.parametrize("fault", [Fault(cut=3_000_000), Fault(cut=700), Fault(status=503), Fault(status=500)], ids=str)
def test_a_read_survives_a_network_that_fails(s3: S3Server, fault: Fault) -> None:
    """s3fs's own reading of a large object gives up at the first cut."""
    data = bytes(range(256)) * (3 * RANGE // 256)
    name = f"read-{fault.cut}-{fault.status}"
    direct = Storage(s3.root(name), s3.options)
    direct.create("large", data)
    with behind(s3, name, times(5, f"GET /reverie/{name}/large", fault)) as storage:
        assert storage.read("large") == data


def test_a_shard_is_committed_and_read_through_failures(s3: S3Server) -> None:
    count = [0]

    def every_third(line: str) -> Fault | None:
        count[0] += 1
        return Fault(cut=0) if count[0] % 3 == 0 else None

    with behind(s3, "thirds", every_third) as storage:
        marker = commit_images(storage)
        assert list(read_samples(storage, marker)) == image_samples(12)
        assert storage.list("images") == [marker.object, "000000.json"]


def test_a_create_whose_reply_was_lost_is_still_ours(s3: S3Server) -> None:
    """The request is made again and finds its own object: that is success, not another's claim."""
    lost = times(1, "PUT /reverie/reply/lease.json", Fault(cut=0))
    with behind(s3, "reply", lost) as storage:
        storage.create("lease.json", b"ours")
        assert storage.read("lease.json") == b"ours"
        with pytest.raises(FileExistsError):
            storage.create("lease.json", b"ours")


def test_a_touch_whose_reply_was_lost_still_holds(s3: S3Server) -> None:
    with behind(s3, "touch", times(1, "PUT /reverie/touch/lease.json", Fault(cut=0))) as storage:
        Storage(s3.root("touch"), s3.options).create("lease.json", b"ours")
        assert storage.touch("lease.json", b"ours")


def test_a_network_that_stays_down_is_retryable() -> None:
    nobody = Storage("s3://reverie/run", options(f"http://127.0.0.1:{free_port()}"), retry=Retry(2, 0.01, 0.01))
    with pytest.raises(RetryableError, match=r"cannot (list|open) s3://reverie/run.*the same command continues"):
        nobody.list("images")


def test_a_store_that_ignores_create_only_is_refused_before_it_does_harm() -> None:
    with careless_s3("overwrites") as endpoint:
        storage = Storage("s3://bucket/run", options(endpoint), retry=QUICK)
        with pytest.raises(ConfigError, match=r"s3://bucket/run created the same object twice: it ignores create-only"):
            storage.create("leases/images/000000.0.json", b"ours")
        assert not storage.exists("leases/images/000000.0.json")


@pytest.mark.parametrize("manner", ["terse", "busy at first"])
def test_other_ways_to_refuse_are_understood(manner: Manner) -> None:
    with careless_s3(manner) as endpoint:
        storage = Storage("s3://bucket/run", options(endpoint), retry=QUICK)
        storage.create("a", b"ours")
        with pytest.raises(FileExistsError):
            storage.create("a", b"theirs")
        assert storage.read("a") == b"ours"


def test_the_probe_leaves_nothing_behind(s3: S3Server) -> None:
    storage = Storage(s3.root("probe"), s3.options)
    storage.create("a", b"1")
    storage.now()
    assert [entry.name for entry in storage.entries("", hidden=True)] == ["a"]


def test_one_small_read_is_one_request(s3: S3Server) -> None:
    lines: list[str] = []
    record: Callable[[str], Fault | None] = lambda line: lines.append(line)  # noqa: E731
    with behind(s3, "count", record) as storage:
        storage.create("a", b"1")
        lines.clear()
        storage.read("a")
        assert [line.split()[0] for line in lines] == ["GET"]
