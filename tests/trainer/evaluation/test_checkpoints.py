"""The right weights are evaluated, with the architecture and normalisation they were trained with."""

from pathlib import Path

import pytest
import torch

from shards import Storage
from tests.trainer.evaluation.toys import MODEL, write_checkpoint
from trainer.evaluation.checkpoints import find
from trainer.evaluation.features import random_encoder
from trainer.evaluation.waiting import NotYet


def test_the_newest_or_a_chosen_checkpoint(tmp_path: Path) -> None:
    for step, seed in ((4, 1), (8, 2)):
        write_checkpoint(tmp_path, step, seed)
    storage = Storage(str(tmp_path))
    assert find(storage, "toy", None, final=False).step == 8
    chosen = find(storage, "toy", 4, final=True)
    assert (chosen.step, chosen.final, chosen.config.model) == (4, False, MODEL)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(chosen.load()(images), random_encoder(MODEL, 1)(images))
    assert chosen.sha256 != find(storage, "toy", 8, final=True).sha256


def test_a_missing_checkpoint_says_what_there_is_and_how_to_train(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    storage = Storage(str(tmp_path))
    with pytest.raises(NotYet, match=r"checkpoints/other: no checkpoint; runs .*: toy. Train it: python -m "):
        find(storage, "other", None, final=False)
    with pytest.raises(NotYet, match=r"no checkpoint of step 3; there are 8\. Train it"):
        find(storage, "toy", 3, final=False)


def test_waiting_is_for_the_last_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, step=4, steps=8)
    storage = Storage(str(tmp_path))
    assert find(storage, "toy", None, final=False).step == 4
    with pytest.raises(NotYet, match="the run is at step 4 of 8"):
        find(storage, "toy", None, final=True)
    write_checkpoint(tmp_path, step=8, steps=8)
    assert find(storage, "toy", None, final=True).step == 8
