"""The command, in processes of its own: killed, stopped, on two ranks."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from shards import Storage
from tests.servers.running import free_port
from tests.trainer.objectives_for_tests import Log
from tests.trainer.scenes import images, pretrain_config
from trainer.checkpoint import MODEL, OPTIMIZER, Checkpoints
from trainer.config import PretrainConfig
from trainer.loop import train

ROOT = Path(__file__).parents[2]
slow = pytest.mark.slow
minutes = pytest.mark.timeout(1800)


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    images(str(tmp_path), shards=4, per_shard=5)
    return pretrain_config(str(tmp_path))


def command(config: PretrainConfig) -> list[str]:
    file = Path(config.root) / f"{config.run}.json"
    file.write_text(config.model_dump_json())
    return [sys.executable, "-m", "trainer.pretrain", "--config", str(file)]


def start(config: PretrainConfig) -> subprocess.Popen[str]:
    return subprocess.Popen(command(config), cwd=ROOT, stderr=subprocess.PIPE, text=True)


def finish(config: PretrainConfig) -> str:
    """Run to the end; what it said."""
    process = start(config)
    _, said = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return said


def when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Wait until it happened, or the process ended."""
    while not happened() and process.poll() is None:
        time.sleep(0.005)


def steps(config: PretrainConfig) -> list[int]:
    return Checkpoints(Storage(config.root), config.run).steps()


def tensors(config: PretrainConfig) -> list[bytes]:
    """The last checkpoint's tensors, byte by byte."""
    folder = Path(config.root) / f"checkpoints/{config.run}/step-{config.schedule.steps:08}"
    return [(folder / name).read_bytes() for name in (MODEL, OPTIMIZER)]


def longer(config: PretrainConfig, run: str, total: int, **batch: object) -> PretrainConfig:
    return config.model_copy(
        update={
            "run": run,
            "schedule": config.schedule.model_copy(update={"steps": total}),
            "batch": config.batch.model_copy(update=batch),
        }
    )


@slow
@minutes
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(config: PretrainConfig):
    """kill -9 twice, each a random while after another checkpoint appeared, with a reading process beside. Its end is
    that of a run that was left alone, to the last bit; and no process stays behind."""
    chance = random.Random()
    seed = chance.randrange(2**32)
    print(f"moments drawn with seed {seed}")
    chance.seed(seed)
    straight, killed = longer(config, "straight", 60), longer(config, "killed", 60, workers=1)
    finish(straight)
    for _ in range(2):
        goal = max(steps(killed), default=0) + chance.randrange(4, 16)
        process = start(killed)
        when(process, partial(is_past, killed, goal))
        time.sleep(chance.random() / 5)
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.communicate()
        assert not psutil.wait_procs(family, timeout=60)[1]
    assert "finished" not in finish(killed)
    assert tensors(killed) == tensors(straight)
    assert "is finished (60 steps)" in finish(killed)


@slow
@minutes
def test_sigterm_saves_and_ends_with_143(config: PretrainConfig):
    config = longer(config, "stopped", 100_000)
    process = start(config)
    when(process, lambda: bool(steps(config)))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143, said
    step = steps(config)[-1]
    assert f"error: stopped on request at step {step}; everything is saved" in said


@slow
@minutes
def test_a_rank_whose_peer_is_gone_ends_with_75(config: PretrainConfig):
    """It is not what failed: neither it nor its node is to blame."""
    config = longer(config, "left", 100_000)
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    first, second = (
        subprocess.Popen(
            command(config), cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(2)
    )  # fmt: skip
    when(first, lambda: bool(steps(config)))
    second.kill()
    second.communicate()
    _, said = first.communicate(timeout=300)
    assert first.returncode == 75, said
    assert "error: another process of this run is gone; see what it said last" in said


def is_past(config: PretrainConfig, goal: int) -> bool:
    """Whether the run has a checkpoint of a later step."""
    return max(steps(config), default=0) > goal


def ranks(config: PretrainConfig, folder: Path, world: int, died: int = -1) -> Iterator[dict[str, list[Any]]]:
    """What each of `world` ranks saw, started as components start them."""
    file = Path(config.root) / f"{config.run}.json"
    file.write_text(config.model_dump_json())
    folder.mkdir()
    launch = [sys.executable, "-m", "trainer.launch", "--standalone", "--local-addr", "localhost"]
    script = [str(Path(__file__).with_name("train_and_tell.py")), str(file), str(folder), str(died)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*launch, "--nproc-per-node", str(world), *script],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (died < 0), done.stderr
    return (json.loads((folder / f"{rank}.json").read_text()) for rank in range(world))


@slow
@minutes
def test_two_ranks_see_the_same_samples_and_losses_as_one(config: PretrainConfig, tmp_path: Path):
    """Losses agree to 1e-4 (relative) over 6 steps: sums are taken in another order, and AdamW's first updates turn
    rounding in near-zero gradients into whole steps. Stochastic depth is off: it is drawn for each rank."""
    plain = config.model_copy(
        update={
            "model": config.model.model_copy(update={"drop_path": 0.0}),
            "engine": config.engine.model_copy(update={"zero_stage": 1}),
        }
    )
    one = Log()
    train(plain.model_copy(update={"run": "one"}), one.build)

    first, second = ranks(plain.model_copy(update={"run": "two"}), tmp_path / "two", world=2)
    joined = [left + right for left, right in zip(first["labels"], second["labels"], strict=True)]
    assert joined == one.labels
    means = [(left + right) / 2 for left, right in zip(first["losses"], second["losses"], strict=True)]
    assert means == pytest.approx(one.losses, rel=1e-4)

    # Two ranks until step 3, where they die; the checkpoint of step 2 goes on alone.
    half = plain.model_copy(update={"run": "half"})
    list(ranks(half, tmp_path / "half", world=2, died=3))
    rest = Log()
    train(half, rest.build)
    assert rest.labels[1:] == one.labels[2:]
    assert rest.losses[1:] == pytest.approx(one.losses[2:], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "vit_b61"], "no recipe vit_b61; did you mean vit_b16?"),
        (["--recipe", "nano"], "root: say where the run lives"),
        (["--recipe", "nano", "--root", "x", "--batch.local_size", "30"], "must be a multiple of model.patch_size (8)"),
    ],
)
def test_a_wrong_command_line_ends_with_64_before_anything_is_loaded(arguments: list[str], said: str):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trainer.pretrain", *arguments],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert said in done.stderr
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())
