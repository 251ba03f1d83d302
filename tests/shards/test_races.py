"""Real processes: many claim at once, and workers are killed at any moment. Nothing is lost, nothing stands twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from shards import Storage, check, committed, markers, read_samples, sweep
from tests.servers.s3 import S3Server
from tests.shards.scenes import image_samples

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")
UNITS = 8


def start(storage: Storage, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), storage.root, json.dumps(storage.options), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=-1)


def finish(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return output.split()


def assert_sound(storage: Storage) -> None:
    """Every unit stands once, with its own samples, and nothing else is in the folder."""
    assert len(markers(storage, "images")) == UNITS
    for unit, marker in markers(storage, "images").items():
        assert list(read_samples(storage, marker)) == image_samples(5, seed=int(unit))
    sweep(storage, "images", older=0.0)
    names = storage.list("images")
    assert len(names) == 2 * UNITS, names
    assert check(storage, "images").bad == {}


@pytest.mark.timeout(900)
def test_many_workers_share_the_units(local: Storage) -> None:
    """Each unit is made by one of them: nobody works in vain while nobody dies."""
    workers = [start(local, f"worker-{number}", "30", str(UNITS)) for number in range(4)]
    made = Counter(unit for worker in workers for unit in finish(worker))
    assert made == dict.fromkeys((f"{number:06d}" for number in range(UNITS)), 1)
    assert_sound(local)
    assert local.list("leases/images") == []


@pytest.mark.s3
@pytest.mark.timeout(900)
def test_many_workers_share_the_units_on_s3(s3: S3Server) -> None:
    storage = Storage(s3.root("shared"), s3.options)
    workers = [start(storage, f"worker-{number}", "60", str(UNITS)) for number in range(3)]
    made = Counter(unit for worker in workers for unit in finish(worker))
    assert made == dict.fromkeys((f"{number:06d}" for number in range(UNITS)), 1)
    assert_sound(storage)


@pytest.mark.timeout(900)
def test_workers_killed_at_random_moments_lose_nothing(local: Storage) -> None:
    """SIGKILL, and the same command again: the dead process's unit is taken over at once, not after its 600 s."""
    rng = random.Random(int(os.environ.get("REVERIE_SEED", "0")))
    for _ in range(6):
        worker = start(local, "worker", "600", str(UNITS), "slow")
        assert worker.stdout is not None
        worker.stdout.readline()  # it has begun
        time.sleep(rng.uniform(0.0, 0.25))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        for marker in markers(local, "images").values():  # at any moment a reader sees whole shards only
            assert list(read_samples(local, marker)) == image_samples(5, seed=int(marker.unit))
    before = committed(local, "images")
    made = finish(start(local, "worker", "600", str(UNITS)))
    assert set(made).isdisjoint(before), "what was committed is not made again"
    assert_sound(local)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", ["before the tar", "between tar and marker", "after the marker"])
def test_a_worker_killed_around_its_commit_loses_nothing(local: Storage, moment: str) -> None:
    doomed = start(local, "worker", "600", str(UNITS), moment)
    doomed.communicate(timeout=300)
    assert doomed.returncode == -signal.SIGKILL
    assert committed(local, "images") == ({"000000"} if moment == "after the marker" else set())
    finish(start(local, "worker", "600", str(UNITS)))
    assert_sound(local)
