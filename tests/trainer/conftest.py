"""What the trainer's tests share: functions that run on several real processes, and tests on one thread."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer.distributed import Gather

Share = Callable[[Gather], dict[str, Tensor]]
OnRanks = Callable[[Share, int], list[dict[str, Tensor]]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are split by thread: with one, numbers do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def on_ranks(tmp_path: Path) -> OnRanks:
    """`on_ranks(share, 2)` runs `share(Process())`, a function at the top of the test file, on 2 gloo processes of this
    machine, and returns what each rank returned."""

    def run(share: Share, world: int) -> list[dict[str, Tensor]]:
        command = [sys.executable, str(Path(__file__).with_name("rank.py")), inspect.getfile(share), share.__name__]
        root = str(Path(__file__).parents[2])
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
        ranks = [
            subprocess.Popen(
                [*command, str(rank), str(world), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
            )
            for rank in range(world)
        ]
        try:
            errors = [rank.communicate(timeout=600)[1] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(errors)
        return [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]

    return run
