"""kill -9 at random moments, then the same command again: nothing is lost, nothing is made twice, the bytes are equal.

Most kills hit forked children, which start in no time, so that the moments fall into the work and not into imports; one
per stage hits the real command.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config.cli import resolve
from generator.caption import caption
from generator.config import GenerateConfig
from generator.image import image
from generator.recipes import RECIPES
from shards import Storage, check, committed, markers, read_samples, sweep
from tests.generator.models import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Stage = Callable[[GenerateConfig], None]
STAGES: dict[str, tuple[Stage, str]] = {
    "captions": (caption, "generator.caption"),
    "images": (image, "generator.image"),
}
WORK = {"caption.count": 24, "caption.per_unit": 2, "image.batch": 4}


def arguments(models_folder: Path, root: Path) -> list[str]:
    return command(models_folder, root, **WORK)


@pytest.fixture(scope="module")
def undisturbed(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A run that nobody killed, and how long each stage took."""
    root = tmp_path_factory.mktemp("undisturbed") / "run"
    config = resolve(GenerateConfig, RECIPES, arguments(models_folder, root))
    seconds = {}
    for name, (stage, _) in STAGES.items():
        started = time.monotonic()
        stage(config)
        seconds[name] = time.monotonic() - started
    return root, seconds


def content(root: Path, stage: str) -> dict[str, str]:
    """Key -> sha256 over the fields of every sample; fails if a key comes twice."""
    storage = Storage(str(root))
    found: dict[str, str] = {}
    for marker in markers(storage, stage).values():
        for sample in read_samples(storage, marker):
            assert sample.key not in found, f"{sample.key} was made twice"
            found[sample.key] = hashlib.sha256(repr(sorted(sample.fields.items())).encode()).hexdigest()
    return found


def kill_after(stage: Stage, config: GenerateConfig, seconds: float) -> int:
    """The stage in a process of its own, killed then; its exit code (-9 if it was killed in time)."""
    child = multiprocessing.get_context("fork").Process(target=stage, args=(config,))
    child.start()
    child.join(seconds)
    child.kill()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def assert_whole(root: Path, stage: str, expected: Path) -> None:
    assert content(root, stage) == content(expected, stage)
    storage = Storage(str(root))
    report = check(storage, stage)
    assert (report.bad, report.missing) == ({}, [])
    sweep(storage, stage, older=0)  # tars of killed attempts, which no reader sees
    assert len([name for name in storage.list(stage) if name.endswith(".tar")]) == len(committed(storage, stage))
    assert storage.list(f"leases/{stage}") == []


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_moments(
    stage: str, models_folder: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, float]]
) -> None:
    expected, seconds = undisturbed
    config = resolve(GenerateConfig, RECIPES, arguments(models_folder, tmp_path))
    if stage == "images":
        caption(config)
    moments = random.Random(20260101)
    codes = [kill_after(STAGES[stage][0], config, moments.uniform(0, 0.6) * seconds[stage]) for _ in range(8)]
    assert codes.count(-signal.SIGKILL) >= 3, f"the kills came too late: {codes}"
    STAGES[stage][0](config)
    assert_whole(tmp_path, stage, expected)


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_killed_and_given_again(
    stage: str, models_folder: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, float]]
) -> None:
    expected, _ = undisturbed
    line = [sys.executable, "-m", STAGES[stage][1], *arguments(models_folder, tmp_path)]
    if stage == "images":
        caption(resolve(GenerateConfig, RECIPES, arguments(models_folder, tmp_path)))
    first = subprocess.Popen(line)
    wait_for(lambda: committed(Storage(str(tmp_path)), stage) or first.poll() is not None)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL, "it had ended before it was killed"
    assert subprocess.run(line, timeout=600).returncode == 0
    assert_whole(tmp_path, stage, expected)


def test_two_workers_share_the_units(
    models_folder: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, float]]
) -> None:
    expected, _ = undisturbed
    config = resolve(GenerateConfig, RECIPES, arguments(models_folder, tmp_path))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=stage, args=(config,)) for stage in (image, caption, caption, image)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(600)
    assert [worker.exitcode for worker in workers] == [0] * 4
    for stage in STAGES:
        assert_whole(tmp_path, stage, expected)


def test_asked_to_stop_it_leaves_with_143_and_gives_its_unit_back(models_folder: Path, tmp_path: Path) -> None:
    changes = {**WORK, "caption.count": 2000, "caption.per_unit": 500}  # long enough to be met at work
    line = [sys.executable, "-m", "generator.caption", *command(models_folder, tmp_path, **changes)]
    worker = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    storage = Storage(str(tmp_path))
    wait_for(lambda: storage.list("leases/captions") or worker.poll() is not None)
    worker.send_signal(signal.SIGTERM)
    _, errors = worker.communicate(timeout=300)
    assert worker.returncode == 143
    assert errors.splitlines()[-1] == "error: stopped; committed units are safe, the same command does the rest"
    assert storage.list("leases/captions") == []


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
