"""Claims: one holder per unit, whatever the clocks say, and units of the dead are taken over."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from config import Stopped
from shards import Claims, Lease, Storage, claim_units, committed
from shards.backend import Data, Entry
from shards.claims import leases
from shards.holder import Holder
from shards.memory import MemoryBackend
from tests.shards.scenes import commit_images

UNITS = [f"{number:06d}" for number in range(4)]


def never_dead(holder: Holder) -> bool:
    """As seen from another machine."""
    return False


class Timed(MemoryBackend):
    """A store with a clock that the test moves: nobody waits for leases to expire. `before_create` sees each path;
    `before_entries` is called before each listing."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.time = 1_000_000.0
        self.written: dict[str, float] = {}
        self.before_create: Callable[[str], None] = lambda path: None
        self.before_entries: Callable[[], None] = lambda: None

    def create(self, path: str, data: Data) -> None:
        self.before_create(path)
        super().create(path, data)
        self.written[path] = self.time

    def replace(self, path: str, data: Data) -> None:
        super().replace(path, data)
        self.written[path] = self.time

    def touch(self, path: str, expected: bytes) -> bool:
        held = super().touch(path, expected)
        if held:
            self.written[path] = self.time
        return held

    def modified(self, path: str) -> float:
        self.size(path)  # which says if there is none
        return self.written[path]

    def entries(self, folder: str) -> list[Entry]:
        self.before_entries()
        return [replace(one, modified=self.written[f"{folder}/{one.name}"]) for one in super().entries(folder)]


class World:
    """A storage whose clock stands still until `wait`, and workers on it, each on a machine of its own."""

    def __init__(self) -> None:
        self.backend = Timed(f"memory://{uuid.uuid4().hex}")
        self.storage = Storage("memory://world", connect=lambda root, options: self.backend)

    def worker(self, name: str, ahead: float = 0.0, ttl: float = 60.0) -> Claims:
        """`ahead`: how wrong this worker's own clock is, in seconds."""
        clock: Callable[[], float] = lambda: self.backend.time + ahead  # noqa: E731
        return Claims(self.storage, "images", worker=name, ttl=ttl, clock=clock, dead=never_dead)

    def wait(self, seconds: float) -> None:
        self.backend.time += seconds

    def names(self) -> list[str]:
        return self.storage.list("leases/images")


def held(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


def test_a_unit_has_one_holder_until_it_is_released() -> None:
    world = World()
    ours, theirs = world.worker("ours"), world.worker("theirs")
    lease = held(ours.acquire("000000"))
    assert (lease.unit, lease.generation) == ("000000", 0)
    assert world.names() == ["000000.0.json"]
    assert theirs.acquire("000000") is None
    assert ours.acquire("000000") is None
    lease.release()
    assert world.names() == []
    assert held(theirs.acquire("000000")).generation == 0


def test_every_attempt_has_a_name_of_its_own() -> None:
    world = World()
    worker = world.worker("w")
    attempts = set()
    for _ in range(5):
        with held(worker.acquire("000000")) as lease:
            attempts.add(lease.attempt)
    assert len(attempts) == 5


def test_asked_to_stop_in_the_middle_of_claiming_a_worker_leaves_no_lease() -> None:
    world = World()

    def stop() -> None:
        if world.backend.written:
            raise Stopped("stopped")

    world.backend.before_entries = stop
    with pytest.raises(Stopped):
        world.worker("ours").acquire("000000")
    world.backend.before_entries = lambda: None
    assert world.names() == []


def test_a_renewed_lease_never_expires() -> None:
    world = World()
    lease = held(world.worker("ours").acquire("000000"))
    for _ in range(10):
        world.wait(50)
        assert lease.renew()
        assert world.worker("theirs").acquire("000000") is None
    assert not lease.lost


def test_an_expired_lease_is_taken_over_and_its_holder_notices() -> None:
    world = World()
    ours = held(world.worker("ours").acquire("000000"))
    world.wait(59)
    assert world.worker("theirs").acquire("000000") is None
    world.wait(2)
    assert ours.lost, "not renewed in time: another may have it by now"
    theirs = held(world.worker("theirs").acquire("000000"))
    assert theirs.generation == 1
    assert world.names() == ["000000.1.json"]
    assert not ours.renew()
    assert ours.lost
    ours.release()
    assert theirs.renew(), "releasing a lost lease must not touch the new one"


def test_a_late_holder_whose_unit_nobody_took_may_go_on() -> None:
    world = World()
    lease = held(world.worker("ours").acquire("000000"))
    world.wait(1000)
    assert lease.lost
    assert lease.renew()
    assert not lease.lost


@pytest.mark.parametrize("ahead", [-86400.0, 86400.0])
def test_wrong_clocks_change_nothing(ahead: float) -> None:
    """Expiry is a matter of the storage's times alone."""
    world = World()
    held(world.worker("ours").acquire("000000"))
    wrong = world.worker("wrong", ahead)
    assert wrong.acquire("000000") is None
    world.wait(30)
    assert wrong.acquire("000000") is None
    world.wait(31)
    assert held(wrong.acquire("000000")).generation == 1


def test_the_holder_says_how_long_its_lease_lasts() -> None:
    """A worker with a short ttl must not take a unit from one with a long ttl."""
    world = World()
    held(world.worker("slow", ttl=600).acquire("000000"))
    world.wait(300)
    assert world.worker("hasty", ttl=1).acquire("000000") is None


def test_a_lease_that_no_one_can_read_expires_too() -> None:
    world = World()
    world.storage.create("leases/images/000000.3.json", b"not json")
    assert world.worker("w").acquire("000000") is None
    world.wait(61)
    assert held(world.worker("w").acquire("000000")).generation == 4


def test_a_takeover_steps_back_if_the_holder_renews_meanwhile() -> None:
    """The taker saw an expired lease; before it looks again the holder, long paused, has renewed."""
    world = World()
    ours = held(world.worker("ours").acquire("000000"))
    world.wait(100)
    renewed: list[bool] = []

    def renew_just_before(path: str) -> None:
        if path.endswith("000000.1.json"):
            renewed.append(ours.renew())

    world.backend.before_create = renew_just_before
    assert world.worker("theirs").acquire("000000") is None
    assert renewed == [True]
    assert world.names() == ["000000.0.json"]
    assert ours.renew()


def test_a_holder_that_renews_after_the_takeover_began_gives_way() -> None:
    """The other half of the same race: what the taker looked at was still old."""
    world = World()
    ours = held(world.worker("ours").acquire("000000"))
    world.wait(100)
    world.storage.create("leases/images/000000.1.json", b"the taker, between its create and its look")
    assert not ours.renew()
    assert ours.lost


def test_a_late_create_at_an_old_generation_steps_back() -> None:
    """Whoever saw the unit free, slept, and wakes when it is held at a later generation has nothing."""
    world = World()

    def sleep_meanwhile(path: str) -> None:
        if path.endswith("000000.0.json"):
            world.storage.create("leases/images/000000.7.json", b"{}")

    world.backend.before_create = sleep_meanwhile
    assert world.worker("theirs").acquire("000000") is None
    assert world.names() == ["000000.7.json"]


def test_a_dead_process_on_the_same_machine_is_taken_over_at_once() -> None:
    world = World()
    held(world.worker("ours").acquire("000000"))
    restarted = Claims(world.storage, "images", worker="ours", ttl=60, dead=lambda holder: True)
    assert held(restarted.acquire("000000")).generation == 1


def test_free_units_come_first_then_abandoned_ones() -> None:
    world = World()
    held(world.worker("gone").acquire("000000"))
    world.wait(61)
    worker = world.worker("w")
    got = [held(worker.acquire_any(UNITS)).unit for _ in UNITS]
    assert got[:3] == ["000001", "000002", "000003"]
    assert got[3] == "000000"
    assert worker.acquire_any(UNITS) is None


def test_the_thread_renews_until_release(storage: Storage) -> None:
    ours = Claims(storage, "images", worker="ours", ttl=1.5, dead=never_dead)
    theirs = Claims(storage, "images", worker="theirs", ttl=1.5, dead=never_dead)
    with held(ours.acquire("000000")) as lease:
        time.sleep(4.0)
        assert theirs.acquire("000000") is None
        assert not lease.lost
    assert storage.list("leases/images") == []
    assert threading.active_count() < 20


def test_an_abandoned_unit_is_taken_over_after_its_time(storage: Storage) -> None:
    ours = Claims(storage, "images", worker="ours", ttl=1.0, dead=never_dead)
    theirs = Claims(storage, "images", worker="theirs", ttl=1.0, dead=never_dead)
    lease = held(ours.acquire("000000"))
    time.sleep(3.2)  # ttl, one second for times in whole seconds, one for the clock's own rounding
    assert held(theirs.acquire("000000")).generation == 1
    assert not lease.renew()


def test_units_are_worked_on_until_all_are_committed(local: Storage) -> None:
    claims = Claims(local, "images", worker="w", ttl=60)
    units = []
    for lease in claim_units(claims, lambda: UNITS, lambda: committed(local, "images"), lambda: 4, 0.01):
        assert local.list("leases/images") == [f"{lease.unit}.0.json"]
        units.append(lease.unit)
        commit_images(local, lease.unit, count=1, attempt=lease.attempt)
    assert units == UNITS
    assert local.list("leases/images") == []


def test_units_that_appear_later_are_waited_for(local: Storage) -> None:
    """A generator starts on the first committed caption shard, and learns the total from it."""
    commit_of: list[str] = []
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        commit_of.append(UNITS[len(commit_of)])  # meanwhile another caption shard was committed

    claims = Claims(local, "images", worker="w", ttl=60)
    done: Callable[[], set[str]] = lambda: committed(local, "images")  # noqa: E731
    total: Callable[[], int | None] = lambda: 4 if commit_of else None  # noqa: E731
    for lease in claim_units(claims, lambda: commit_of, done, total, 2.0, sleep=sleep):
        commit_images(local, lease.unit, count=1, attempt=lease.attempt)
    assert committed(local, "images") == set(UNITS)
    assert len(naps) == 4
    assert all(1.0 <= nap <= 2.0 for nap in naps)


def test_nothing_is_claimed_when_all_is_done(local: Storage) -> None:
    commit_images(local, "000000", units=1)
    claims = Claims(local, "images", worker="w", ttl=60)
    assert list(claim_units(claims, lambda: UNITS[:1], lambda: committed(local, "images"), lambda: 1, 1.0)) == []


def test_a_finished_stage_has_no_lease_of_a_worker_killed_after_its_commit(local: Storage) -> None:
    held(Claims(local, "images", worker="killed", ttl=60).acquire("000000"))
    commit_images(local, "000000", units=1)
    claims = Claims(local, "images", worker="w", ttl=60)
    assert list(claim_units(claims, lambda: UNITS[:1], lambda: committed(local, "images"), lambda: 1, 1.0)) == []
    assert leases(local, "images") == {}


def test_a_unit_committed_between_the_look_and_the_claim_is_passed_over(local: Storage) -> None:
    claims = Claims(local, "images", worker="w", ttl=60)
    looks: list[int] = []

    def done() -> set[str]:
        looks.append(1)
        if len(looks) == 1:
            commit_images(local, "000000", units=1)  # another worker, just after we looked
            return set()
        return committed(local, "images")

    assert list(claim_units(claims, lambda: UNITS[:1], done, lambda: 1, 1.0)) == []
    assert leases(local, "images") == {}


def test_a_worker_that_fails_gives_its_unit_back(local: Storage) -> None:
    claims = Claims(local, "images", worker="w", ttl=60)
    units = claim_units(claims, lambda: UNITS, lambda: set(), lambda: 4, 1.0)
    next(units)
    assert local.list("leases/images") == ["000000.0.json"]
    units.close()
    assert local.list("leases/images") == []
