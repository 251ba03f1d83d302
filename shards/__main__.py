"""Look after the shards of a root.

python -m shards --recipe check --root runs/nano          # read everything back, name what is bad
python -m shards --recipe sweep --root s3://bucket/run    # remove what dead attempts left behind
"""

from typing import Literal

from config.cli import run
from config.errors import DataError
from config.section import Section
from shards.storage import Storage
from shards.upkeep import check, sweep


class UpkeepConfig(Section):
    """What to look after, and how."""

    root: str = ""
    """The run's root: a path or a URI (file:, s3:, gs:, az:). There is no default, since a sweep deletes."""
    stages: tuple[str, ...] = ("captions", "images")
    """Folders under the root; both stages that write shards."""
    action: Literal["check", "sweep"] = "check"
    """check reads every committed shard and verifies every byte; sweep removes what no marker names and none can name
    any more. The safe one is the default."""


def main(config: UpkeepConfig) -> None:
    """Raises DataError (exit code 65) after the report if a shard is bad."""
    storage = Storage(config.root)
    if config.action == "sweep":
        for stage in config.stages:
            swept = sweep(storage, stage)
            removed = [*swept.tars, *swept.leases, *swept.hidden]
            print("\n".join([f"{stage}: {len(removed)} removed", *removed]))
        return
    reports = [check(storage, stage) for stage in config.stages]
    print("\n".join(map(str, reports)))
    if bad := sum(len(report.bad) for report in reports):
        raise DataError(f"{bad} bad shards under {storage.root}; the lines above say what to do about each")


RECIPES = {"check": lambda: UpkeepConfig(action="check"), "sweep": lambda: UpkeepConfig(action="sweep")}

if __name__ == "__main__":
    run(main, UpkeepConfig, RECIPES)
