"""A training run in a process of its own that writes down what it saw: `<folder>/<rank>.json`.

python train_and_tell.py <config.json> <folder> [number of the loss in which it dies]
"""

import json
import os
import sys
from pathlib import Path

from tests.trainer.objectives_for_tests import Log, dies_at
from trainer.config import PretrainConfig
from trainer.loop import train


def main(config: str, folder: str, died: str = "-1") -> None:
    log = Log(dies_at(int(died)))
    try:
        train(PretrainConfig.model_validate_json(Path(config).read_bytes()), log.build)
    finally:
        told = {"losses": log.losses, "labels": log.labels}
        (Path(folder) / f"{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
