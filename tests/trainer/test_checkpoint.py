"""Checkpoints are whole, exact, or not there."""

import errno
import json
from pathlib import Path

import pytest
import torch

from config import ConfigError, DataError, RetryableError
from shards import Storage
from shards.memory import MemoryBackend
from tests.trainer.scenes import pretrain_config
from trainer.checkpoint import ENCODER, MODEL, OPTIMIZER, Checkpoints, Progress, check_config, load_encoder
from trainer.config import PretrainConfig
from trainer.dataset import Dataset, Shard
from trainer.models.vit import Encoder, ViT

DATASET = Dataset((Shard("000000", "000000-a.tar", "ab", 10, 2),), "abc")
TENSORS = {
    MODEL: {"w": torch.randn(3, 4), "n": torch.tensor(7)},
    OPTIMIZER: {"w.exp_avg": torch.randn(3, 4), "w.exp_avg_sq": torch.rand(3, 4)},
    ENCODER: {"w": torch.randn(2)},
}


def progress(step: int) -> Progress:
    return Progress(step=step, batches=step + 2, updates=step - 1, rollbacks=1)


def save(checkpoints: Checkpoints, step: int, keep: int = 3) -> None:
    checkpoints.save(pretrain_config("r"), progress(step), DATASET, TENSORS, keep)


class FullDisk(MemoryBackend):
    """Room for so many more writes."""

    def __init__(self, root: str, room: int) -> None:
        super().__init__(root)
        self.room = room

    def replace(self, path: str, data) -> None:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        super().replace(path, data)


@pytest.mark.parametrize("root", ["file", "memory://checkpoints"])
def test_comes_back_as_it_was(tmp_path: Path, root: str):
    checkpoints = Checkpoints(Storage(str(tmp_path) if root == "file" else root), "run")
    save(checkpoints, 5)
    found = checkpoints.load(5)
    assert found.progress == progress(5)
    assert found.dataset == DATASET
    for name in TENSORS[MODEL]:
        assert torch.equal(found.model[name], TENSORS[MODEL][name])
        assert found.model[name].dtype == TENSORS[MODEL][name].dtype
    for name in TENSORS[OPTIMIZER]:
        assert torch.equal(found.optimizer[name], TENSORS[OPTIMIZER][name])
    check_config(found.config, pretrain_config("r"))


def test_the_folder_holds_what_the_docstring_says(tmp_path: Path):
    save(Checkpoints(Storage(str(tmp_path)), "run"), 1000)
    folder = tmp_path / "checkpoints/run"
    assert (folder / "latest").read_text() == "step-00001000"
    assert sorted(file.name for file in (folder / "step-00001000").iterdir()) == sorted(
        ["COMMITTED", "config.json", "encoder.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]
    )


def test_only_the_newest_are_kept(tmp_path: Path):
    checkpoints = Checkpoints(Storage(str(tmp_path)), "run")
    for step in (1, 2, 3, 4):
        save(checkpoints, step, keep=2)
    assert checkpoints.steps() == [3, 4]
    assert not (tmp_path / "checkpoints/run/step-00000001").exists()


@pytest.mark.parametrize("room", range(7))
def test_a_full_disk_leaves_no_half_that_a_reader_would_see(room: int):
    """Six files and the pointer: whichever write fails, the checkpoint before stays the newest."""
    backend = FullDisk(f"memory://full-{room}", room=100)
    storage = Storage(f"memory://full-{room}", connect=lambda root, options: backend)
    checkpoints = Checkpoints(storage, "run")
    save(checkpoints, 1)
    backend.room = room
    with pytest.raises(RetryableError, match=r"No space left|full"):
        save(checkpoints, 2)
    backend.room = 100
    whole = [1, 2] if room == 6 else [1]  # with 6 all files are there; only the pointer is old
    assert checkpoints.steps() == whole
    checkpoints.sweep()
    assert checkpoints.steps() == whole
    assert {path.split("/")[0] for path in storage.walk("checkpoints/run")} == {
        "latest",
        *(f"step-{step:08}" for step in whole),
    }
    save(checkpoints, 3)
    assert checkpoints.load(3).progress == progress(3)


def test_halves_are_swept(tmp_path: Path):
    checkpoints = Checkpoints(Storage(str(tmp_path)), "run")
    save(checkpoints, 1)
    save(checkpoints, 2)
    (tmp_path / "checkpoints/run/step-00000002/COMMITTED").unlink()
    checkpoints.sweep()
    assert [folder.name for folder in (tmp_path / "checkpoints/run").glob("step-*")] == ["step-00000001"]


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, "state.json", "config.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str):
    checkpoints = Checkpoints(Storage(str(tmp_path)), "run")
    save(checkpoints, 1)
    file = tmp_path / "checkpoints/run/step-00000001" / name
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DataError, match=f"step-00000001/{name} is not what was written.*Delete"):
        checkpoints.load(1)


def test_a_changed_config_is_refused_naming_every_field():
    before = pretrain_config("r")
    after = before.model_copy(
        update={"seed": 9, "schedule": before.schedule.model_copy(update={"steps": 800, "warmup_steps": 1})}
    )
    with pytest.raises(ConfigError) as error:
        check_config(before.flat(), after)
    assert "seed was 3 and is 9" in str(error.value)
    assert "schedule.steps was 6 and is 800" in str(error.value)
    assert "--run NAME" in str(error.value)


def test_settings_that_change_no_number_may_change():
    before = pretrain_config("r")
    after = before.model_copy(
        update={
            "root": "elsewhere",
            "batch": before.batch.model_copy(update={"workers": 4, "cache_bytes": 1, "wait": 5.0, "prefetch": 9}),
            "engine": before.engine.model_copy(update={"zero_stage": 3, "threads": 8}),
            "checkpoint": before.checkpoint.model_copy(update={"keep": 9, "every_minutes": 3.5, "by_failures": True}),
            "metrics": before.metrics.model_copy(update={"every_steps": 100}),
            "tracking": before.tracking.model_copy(update={"experiment": "other"}),
        }
    )
    check_config(before.flat(), after)


def test_a_setting_that_an_older_version_did_not_know_counts_as_its_default():
    saved = {name: value for name, value in PretrainConfig().flat().items() if name != "optimizer.clip"}
    check_config(saved, PretrainConfig())


def test_the_encoder_comes_back_frozen_and_gives_the_same_features(tmp_path: Path):
    config = pretrain_config(str(tmp_path))
    encoder = Encoder(ViT(config.model)).eval()
    tensors = {**TENSORS, ENCODER: encoder.state_dict()}
    Checkpoints(Storage(str(tmp_path)), "run").save(config, progress(5), DATASET, tensors, keep=1)
    found = load_encoder(Storage(str(tmp_path)), "run")
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(found(images), encoder(images))
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_no_encoder_says_what_there_is(tmp_path: Path):
    with pytest.raises(DataError, match=r"checkpoints/run: no checkpoint; there are: none"):
        load_encoder(Storage(str(tmp_path)), "run")
    save(Checkpoints(Storage(str(tmp_path)), "run"), 5)
    with pytest.raises(DataError, match="no checkpoint of step 7; there are: 5"):
        load_encoder(Storage(str(tmp_path)), "run", step=7)


def test_the_list_of_files_is_readable(tmp_path: Path):
    save(Checkpoints(Storage(str(tmp_path)), "run"), 1)
    listed = json.loads((tmp_path / "checkpoints/run/step-00000001/COMMITTED").read_text())
    assert set(listed[MODEL]) == {"bytes", "sha256"}
