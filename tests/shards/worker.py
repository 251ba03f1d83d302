"""A worker as a stage has one, for tests that start and kill it: worker.py ROOT OPTIONS NAME TTL UNITS [HOW].

HOW: `slow` takes its time over each sample, a moment of the commit kills the process then, as `kill -9` would.
Prints each unit that it begins (`slow`) or commits.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator

from shards import Claims, Sample, Storage, claim_units, commit, committed
from shards.backend import Data
from tests.shards.scenes import image_samples


class Doomed(Storage):
    """A storage whose process dies at one moment of a commit."""

    moment = ""

    def create(self, path: str, data: Data) -> None:
        kind = "tar" if path.endswith(".tar") else "marker" if path.startswith("images/") else "lease"
        if (kind, self.moment) in {("tar", "before the tar"), ("marker", "between tar and marker")}:
            os.kill(os.getpid(), signal.SIGKILL)
        super().create(path, data)
        if (kind, self.moment) == ("marker", "after the marker"):
            os.kill(os.getpid(), signal.SIGKILL)


def slowly(samples: list[Sample], pause: float) -> Iterator[Sample]:
    for sample in samples:
        time.sleep(pause)
        yield sample


def main(root: str, options: str, name: str, ttl: str, count: str, how: str = "") -> None:
    storage = Doomed(root, json.loads(options))
    storage.moment = how
    units = [f"{number:06d}" for number in range(int(count))]
    claims = Claims(storage, "images", worker=name, ttl=float(ttl))
    for lease in claim_units(claims, lambda: units, lambda: committed(storage, "images"), lambda: len(units), 0.1):
        if how == "slow":
            print(lease.unit, flush=True)
        samples = slowly(image_samples(5, seed=int(lease.unit)), 0.02 if how == "slow" else 0.0)
        commit(
            storage, "images", lease.unit, samples, units=len(units), attempt=lease.attempt, statistics={}, config={}
        )
        if how != "slow":
            print(lease.unit, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
