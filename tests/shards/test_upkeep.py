"""Looking after a root: every bad shard is counted and named, and only what is dead is swept away."""

import os
import time
from pathlib import Path

from shards import Claims, Storage, check, sweep
from tests.shards.scenes import commit_images


def age(storage: Storage, path: str, seconds: float) -> None:
    """Make a local file look as old as that."""
    then = time.time() - seconds
    os.utime(Path(storage.root) / path, (then, then))


def test_a_sound_stage_is_all_good(storage: Storage) -> None:
    sizes = [commit_images(storage, unit, units=2).bytes for unit in ("000000", "000001")]
    report = check(storage, "images", fields=frozenset({"0.jpg", "txt"}))
    assert (report.good, report.samples, report.bytes, report.bad, report.missing) == (2, 24, sum(sizes), {}, [])


def test_bad_shards_are_counted_and_named(local: Storage) -> None:
    markers = {unit: commit_images(local, unit, units=5) for unit in ("000000", "000001", "000002", "000003")}
    local.delete(markers["000000"].object_path)
    local.replace(markers["000001"].object_path, local.read(markers["000001"].object_path)[:-512])
    local.replace("images/000002.json", b"{")
    report = check(local, "images")
    assert report.good == 1
    assert list(report.bad) == ["000000", "000001", "000002"]
    assert report.missing == ["000004"]
    lines = str(report).splitlines()
    assert lines[0].startswith("images: 1 shards good (12 samples, ")
    assert lines[0].endswith("3 bad, 1 not made")
    assert "the object is missing" in lines[1]
    assert "bytes instead of" in lines[2]
    assert "is not a commit marker" in lines[3]


def test_a_missing_field_is_a_bad_shard(local: Storage) -> None:
    commit_images(local)
    assert "has no 'png'" in check(local, "images", fields=frozenset({"png"})).bad["000000"]


def test_other_tars_of_a_committed_unit_are_dead(storage: Storage) -> None:
    marker = commit_images(storage, attempt="winner")
    storage.create("images/000000-beaten.tar", b"another attempt that died before it could clean up")
    assert sweep(storage, "images").tars == ["images/000000-beaten.tar"]
    assert storage.list("images") == [marker.object, "000000.json"]


def test_a_tar_on_its_way_to_its_marker_stays(local: Storage) -> None:
    """Between upload and marker: held by a live lease, or simply young."""
    lease = Claims(local, "images", worker="w", ttl=10).acquire("000000")
    assert lease is not None
    for unit in ("000000", "000001", "000002"):
        local.create(f"images/{unit}-{lease.attempt}.tar", b"uploaded")
    age(local, f"images/000000-{lease.attempt}.tar", 10_000)
    age(local, f"images/000001-{lease.attempt}.tar", 10_000)
    assert sweep(local, "images").tars == [f"images/000001-{lease.attempt}.tar"]
    assert len(local.list("images")) == 2


def test_an_old_tar_goes_once_its_lease_has_expired(local: Storage) -> None:
    lease = Claims(local, "images", worker="w", ttl=10).acquire("000000")
    assert lease is not None
    local.create(f"images/000000-{lease.attempt}.tar", b"uploaded")
    age(local, f"images/000000-{lease.attempt}.tar", 10_000)
    age(local, "leases/images/000000.0.json", 20)
    assert sweep(local, "images").tars == [f"images/000000-{lease.attempt}.tar"]


def test_expired_leases_of_finished_units_go_and_live_ones_stay(local: Storage) -> None:
    claims = Claims(local, "images", worker="w", ttl=10)
    for unit in ("000000", "000001", "000002"):
        assert claims.acquire(unit) is not None
    commit_images(local, "000000")
    commit_images(local, "000001")
    age(local, "leases/images/000000.0.json", 20)
    age(local, "leases/images/000002.0.json", 20)
    assert sweep(local, "images").leases == ["leases/images/000000.0.json"]
    assert local.list("leases/images") == ["000001.0.json", "000002.0.json"]


def test_work_in_progress_goes_when_it_is_old(local: Storage) -> None:
    for name in ("images/.tmp-old", "images/.tmp-new", "leases/images/.tmp-old"):
        local.create(name, b"half")
    age(local, "images/.tmp-old", 10_000)
    age(local, "leases/images/.tmp-old", 10_000)
    assert sorted(sweep(local, "images").hidden) == ["images/.tmp-old", "leases/images/.tmp-old"]


def test_sweeping_a_sound_stage_removes_nothing(storage: Storage) -> None:
    commit_images(storage)
    before = storage.list("images")
    swept = sweep(storage, "images")
    assert (swept.tars, swept.leases, swept.hidden) == ([], [], [])
    assert storage.list("images") == before
