"""Pretrain an encoder on image shards.

    python -m trainer.pretrain --recipe nano --root runs/nano
    python -m trainer.launch --standalone --nproc-per-node 8 -m trainer.pretrain --recipe vit_b16 --root s3://bucket/run

Killed at any moment and started again, it goes on from its newest checkpoint; a finished run says so. On SIGTERM it
saves and ends with 143.
"""

import os

from config import ConfigError
from config.cli import run
from config.lifeline import watch
from trainer.config import PretrainConfig
from trainer.recipes import RECIPES


def main(config: PretrainConfig) -> None:
    """Raises ReverieErrors; their codes are the process's."""
    watch(os.environ)
    if not config.root:
        raise ConfigError("root: say where the run lives: --root FOLDER (or s3://..., gs://..., az://...)")
    if config.engine.device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed reads it when it is imported

    # Only now, for a wrong flag should not take seconds to say so; and the processes that read import this file too.
    from trainer.loop import train

    train(config)


if __name__ == "__main__":
    run(main, PretrainConfig, RECIPES)
