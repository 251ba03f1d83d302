"""One rank of a real process group: runs a function of a test file and saves the tensors that it returns.

    python rank.py <file> <function> <rank> <world> <folder>

Started by the fixture `on_ranks` (conftest.py).
"""

import importlib.util
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trainer.distributed import Process


def main(file: str, function: str, rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("on_rank", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    result = getattr(module, function)(Process())
    torch.save(result, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
