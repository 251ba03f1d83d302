"""Labelled shards are believed only when they are whole and make sense."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import ConfigError, DataError
from nano import world
from shards import Sample, Storage, commit
from tests.trainer.evaluation.toys import write_data
from trainer.evaluation.labelled import find, resize
from trainer.evaluation.waiting import NotYet


def png(width: int = 4, height: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, fields: dict[str, bytes], classes: object = None, units: int = 1) -> Storage:
    storage = Storage(str(root))
    config = {"classes": {"shape": 2} if classes is None else classes}
    samples = [Sample("00000000", fields)]
    commit(storage, "train", "000000", samples, units=units, attempt="a", statistics={}, config=config)
    return storage


def labels(**said: object) -> bytes:
    return json.dumps({"labels": said}).encode()


def test_batches_are_the_images_and_their_classes(tmp_path: Path) -> None:
    write_data(tmp_path, train=7, test=3)
    split = find(Storage(f"{tmp_path}/labelled"), "train", ("shape", "colour"))
    batches = list(split.batches(32, 3))
    assert [len(images) for images, _ in batches] == [3, 3, 1]
    assert len(split) == 7
    assert split.classes == {"shape": 16, "colour": 10}
    image, _ = world.render(world.scene(0, "train", 4), 32)
    assert torch.equal(batches[1][0][1], torch.from_numpy(image).permute(2, 0, 1))
    assert batches[1][1]["colour"][1] == world.scene(0, "train", 4).labels()["colour"]


def test_all_tasks_unless_some_are_chosen(tmp_path: Path) -> None:
    write_data(tmp_path, train=2, test=2)
    storage = Storage(f"{tmp_path}/labelled")
    assert set(find(storage, "test", ()).classes) == set(world.TASKS)
    with pytest.raises(ConfigError, match=r"tasks: no task 'size' in .*; known: background, colour, shape"):
        find(storage, "test", ("size",))


def test_missing_shards_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match=rf"0 of \? labelled shards. Make them: python -m nano.renders .* {tmp_path}"):
        find(Storage(str(tmp_path)), "train", ())
    storage = write(tmp_path, {"png": png(), "json": labels(shape=1)}, units=3)
    with pytest.raises(NotYet, match="1 of 3 labelled shards"):
        find(storage, "train", ())


def test_shards_without_classes_are_no_labelled_shards(tmp_path: Path) -> None:
    storage = write(tmp_path, {"png": png(), "json": labels()}, classes={})
    with pytest.raises(DataError, match=r"train/000000.json: its config has no classes"):
        find(storage, "train", ())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"json": labels(shape=1)}, "has no image; expected one of png, jpg, jpeg, webp, got json"),
        ({"png": png()[:40], "json": labels(shape=1)}, "its png cannot be read"),
        ({"png": png()}, "has no labels shape in its json"),
        ({"png": png(), "json": b"{"}, "has no labels shape in its json"),
        ({"png": png(), "json": labels(colour=1)}, "has no labels shape in its json"),
        ({"png": png(), "json": labels(shape=2)}, "its shape must be a class in 0..1, got 2"),
        ({"png": png(), "json": labels(shape="1")}, "its shape must be a class in 0..1, got '1'"),
    ],
)
def test_a_bad_sample_is_named(tmp_path: Path, fields: dict[str, bytes], said: str) -> None:
    storage = write(tmp_path, fields)
    with pytest.raises(DataError, match=rf"train/000000-a.tar: sample '00000000'.*{said}"):
        list(find(storage, "train", ()).batches(4, 1))


def test_images_of_other_sizes_are_resized_and_cropped_in_the_middle() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 255
    small = resize(Image.fromarray(pixels), 4)
    assert small.size == (4, 4)
    assert np.array(small).mean() > 230, "the white middle, and no black side"
    same = Image.fromarray(pixels[:, :8])
    assert resize(same, 8) is same
