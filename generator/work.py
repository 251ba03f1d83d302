"""What both stages share: units taken from the storage one by one, counted, never mixed with those of another run."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from config import ConfigError, Section, Stopped
from config.progress import Progress
from generator import files
from generator.config import GenerateConfig, LeaseConfig
from shards import Claims, Lease, Storage, claim_units, committed, read_marker

Settings = dict[str, Any]


def caption_settings(config: GenerateConfig, inputs: Mapping[str, Path]) -> Settings:
    """What the captions depend on: settings by dotted path, and a digest of every file they name."""
    return _settings(config, ("concept", "caption"), {"caption.device"}, inputs)


def image_settings(config: GenerateConfig, inputs: Mapping[str, Path]) -> Settings:
    """What the images depend on, beside their captions."""
    settings = _settings(config, ("image",), {"image.device", "image.threads"}, inputs)
    return settings | {"caption.count": config.caption.count, "caption.per_unit": config.caption.per_unit}


def _settings(config: Section, sections: Iterable[str], free: set[str], inputs: Mapping[str, Path]) -> Settings:
    flat = config.flat().items()
    chosen = {path: value for path, value in flat if path.split(".")[0] in sections and path not in free}
    return chosen | {f"digest of {name}": files.digest(path) for name, path in inputs.items()}


def refuse_other_settings(storage: Storage, stage: str, settings: Settings) -> None:
    """Makes sure that what is committed under the root was made with the same settings.

    Raises:
        ConfigError: it was not; the message names the settings that differ.
    """
    units = committed(storage, stage)
    if not units:
        return
    there = read_marker(storage, stage, min(units)).config.get("settings", {})
    differing = [key for key in sorted(there.keys() | settings.keys()) if there.get(key) != settings.get(key)]
    if differing:
        shown = "; ".join(f"{key} is {there.get(key)} there, {settings.get(key)} now" for key in differing[:4])
        more = f" (and {len(differing) - 4} more)" if len(differing) > 4 else ""
        raise ConfigError(
            f"root: the {stage} under {storage.root} were made with other settings: {shown}{more}. "
            "Go on with those settings, or take another root"
        )


def work(
    storage: Storage,
    stage: str,
    config: LeaseConfig,
    units: Mapping[str, range],
    todo: Callable[[], Iterable[str]],
    progress: Progress,
    steps: int,
) -> Iterator[Lease]:
    """Leases on units of `stage` until all are committed.

    Args:
        units: all units of the stage, each with its captions.
        todo: those that can be worked on now.
        progress: told of the units that other workers commit; of this worker's own the caller tells.
        steps: of `progress` per caption.
    """
    mine: set[str] = set()
    seen = committed(storage, stage)

    def done() -> set[str]:
        finished = committed(storage, stage)
        progress.add(steps * sum(len(units[unit]) for unit in finished - seen - mine), shards=len(finished))
        seen.update(finished)
        return finished

    claims = Claims(storage, stage, worker=f"{socket.gethostname()}-{os.getpid()}", ttl=config.ttl)
    for lease in claim_units(claims, todo, done, lambda: len(units), config.poll):
        mine.add(lease.unit)
        yield lease


@contextmanager
def stoppable() -> Iterator[None]:
    """Ends the block with Stopped on SIGTERM, so that leases are given back before the process leaves.

    The unit in work is lost, as with kill -9: a unit is committed whole or not at all.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped; committed units are safe, the same command does the rest")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; whoever runs a stage in another one stops it in their own way
        return
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
