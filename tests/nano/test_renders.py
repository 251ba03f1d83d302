"""Labelled renders: the same for the same seed, apart from each other, and safe against being killed."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from config import DataError
from config.cli import resolve
from nano import renders, world
from nano.renders import RECIPES, RendersConfig
from shards import Sample, Storage, dataset_digest, markers, read_samples


def small(folder: Path, **changes: int) -> RendersConfig:
    return RendersConfig(data=str(folder), **{"train": 12, "test": 5, "side": 32, **changes})


def everything(config: RendersConfig, split: str) -> list[Sample]:
    storage = Storage(config.data)
    return [s for m in markers(storage, split).values() for s in read_samples(storage, m)]


def digests(config: RendersConfig) -> list[str]:
    return [dataset_digest(markers(Storage(config.data), split).values()) for split in renders.SPLITS]


def test_a_sample_is_picture_mask_labels_and_caption(tmp_path: Path) -> None:
    config = small(tmp_path)
    renders.main(config)
    samples = everything(config, "test")
    assert [s.key for s in samples] == [f"{i:08}" for i in range(5)]
    scene = world.scene(config.seed, "test", 3)
    image, mask = world.render(scene, 32)
    with Image.open(io.BytesIO(samples[3].fields["png"])) as stored:
        np.testing.assert_array_equal(np.array(stored), image)
    with Image.open(io.BytesIO(samples[3].fields["mask.png"])) as stored:
        np.testing.assert_array_equal(np.array(stored), mask)
    told = json.loads(samples[3].fields["json"])
    assert told["labels"] == scene.labels()
    assert scene.things[0].shape in told["caption"]
    (marker,) = markers(Storage(config.data), "train").values()
    assert marker.config["classes"] == world.CLASSES


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = small(tmp_path / "a"), small(tmp_path / "b"), small(tmp_path / "c", seed=1)
    for config in (first, again, other):
        renders.main(config)
    assert digests(first) == digests(again)
    assert not set(digests(first)) & set(digests(other))


def test_train_and_test_have_no_render_in_common(tmp_path: Path) -> None:
    config = small(tmp_path, train=150, test=150)
    renders.main(config)
    train, test = ({s.fields["png"] for s in everything(config, split)} for split in renders.SPLITS)
    assert len(train) == len(test) == 150
    assert not train & test


def test_a_killed_run_continues_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = small(tmp_path / "whole"), small(tmp_path / "killed")
    renders.main(whole, per_unit=4)
    renders.main(killed, per_unit=4)
    storage = Storage(killed.data)
    for lost in ("train/000001.json", "test/000001.json"):  # as after a kill between tar and marker
        storage.delete(lost)
    before = markers(storage, "train")
    renders.main(killed, per_unit=4)
    assert digests(killed) == digests(whole)
    assert {unit: markers(storage, "train")[unit].object for unit in before} == {u: m.object for u, m in before.items()}


@pytest.mark.parametrize(("field", "value"), [("seed", 1), ("side", 64), ("train", 13)])
def test_renders_of_other_settings_are_not_mixed(tmp_path: Path, field: str, value: int) -> None:
    renders.main(small(tmp_path))
    with pytest.raises(DataError, match=rf"{'count' if field == 'train' else field} \d+ instead of {value}.*--data"):
        renders.main(small(tmp_path, **{field: value}))


def test_the_command_takes_the_recipe_and_refuses_nonsense() -> None:
    assert resolve(RendersConfig, RECIPES, ["--recipe", "nano", "--data", "x", "--test", "7"]).test == 7
    with pytest.raises(ValidationError):
        RendersConfig(data="", train=0)
