"""The stage around the diffusion model, on tiny random models."""

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from config import ConfigError, DataError
from config.cli import resolve
from generator.caption import caption
from generator.config import GenerateConfig, ImageConfig
from generator.image import encode, image, image_seed, read_captions
from generator.painter import Painter
from generator.recipes import RECIPES
from shards import Storage, markers, read_marker, read_samples
from tests.generator.models import command

Small = Callable[..., GenerateConfig]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models_folder) -> GenerateConfig:
    """A run of ten captions and their forty images."""
    root = tmp_path_factory.mktemp("made") / "run"
    config = resolve(GenerateConfig, RECIPES, command(models_folder, root))
    caption(config)
    image(config)
    return config


def test_every_caption_has_its_images_once(made: GenerateConfig) -> None:
    found = markers(Storage(made.root), "images")
    keys = [key for marker in found.values() for key in marker.keys]
    assert keys == [f"c{i:09}" for i in range(10)]
    assert sum(marker.statistics["images"] for marker in found.values()) == 40


def test_a_sample_is_its_images_its_caption_and_where_they_come_from(made: GenerateConfig) -> None:
    storage = Storage(made.root)
    captions = read_captions(storage, read_marker(storage, "captions", "000001"))
    marker = read_marker(storage, "images", "000001")
    for sample, source in zip(read_samples(storage, marker), captions, strict=True):
        assert set(sample.fields) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "txt", "json"}
        assert sample.fields["txt"].decode() == source.text
        lineage = json.loads(sample.fields["json"])
        assert {name: lineage[name] for name in source.lineage if name != "flags"} == {
            name: value for name, value in source.lineage.items() if name != "flags"
        }
        assert lineage["t2i"]["seeds"] == [image_seed(made.image, source.index, n) for n in range(4)]
    assert marker.config["captions"] == read_marker(storage, "captions", "000001").sha256


def test_the_images_of_a_caption_differ(made: GenerateConfig) -> None:
    storage = Storage(made.root)
    for sample in read_samples(storage, read_marker(storage, "images", "000000")):
        assert len({sample.fields[f"{n}.jpg"] for n in range(4)}) == 4


def test_an_image_made_again_by_itself_has_the_same_bytes(made: GenerateConfig) -> None:
    storage = Storage(made.root)
    painter = Painter(made.image)
    one = read_captions(storage, read_marker(storage, "captions", "000001"))[2]
    pixels = painter.paint([painter.encode([one.text])[one.text]], [image_seed(made.image, one.index, 3)])
    stored = list(read_samples(storage, read_marker(storage, "images", "000001")))[2]
    assert encode(pixels[0], made.image)[0] == stored.fields["3.jpg"]


def test_images_are_jpegs_of_the_saved_size(made: GenerateConfig) -> None:
    sample = next(read_samples(Storage(made.root), read_marker(Storage(made.root), "images", "000000")))
    picture = Image.open(io.BytesIO(sample.fields["0.jpg"]))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 32))


def test_a_grid_shows_captions_with_their_images(made: GenerateConfig) -> None:
    assert Image.open(io.BytesIO(Storage(made.root).read("grid.png"))).size[0] > 4 * 96


def test_a_finished_stage_changes_nothing(made: GenerateConfig) -> None:
    before = {unit: one.object for unit, one in markers(Storage(made.root), "images").items()}
    image(made)
    assert {unit: one.object for unit, one in markers(Storage(made.root), "images").items()} == before


def test_other_settings_under_the_same_root_are_refused(made: GenerateConfig) -> None:
    other = made.model_copy(update={"image": made.image.model_copy(update={"guidance": 4.0})})
    with pytest.raises(ConfigError, match=r"image\.guidance is 2\.5 there, 4\.0 now"):
        image(other)


def test_captions_in_another_number_of_units_are_refused(small: Small) -> None:
    caption(small())
    with pytest.raises(ConfigError, match=r"caption\.count and caption\.per_unit make 5 units, the captions .* have 3"):
        image(small(caption__per_unit=2))


def test_a_corrupt_caption_shard_is_named(small: Small) -> None:
    config = small()
    caption(config)
    storage = Storage(config.root)
    marker = read_marker(storage, "captions", "000000")
    tar = bytearray(storage.read(marker.object_path))
    tar[700] ^= 255
    storage.replace(marker.object_path, bytes(tar))
    with pytest.raises(DataError, match=rf"captions/{marker.object}"):
        image(config)
    assert "000000" not in markers(storage, "images")


@pytest.mark.parametrize(("subsampling", "save_size"), [("4:4:4", 64), ("4:2:0", 32)])
def test_pictures_are_scaled_down_and_encoded(subsampling: str, save_size: int) -> None:
    config = ImageConfig.model_validate(
        {"model": "any", "size": 64, "save_size": save_size, "subsampling": subsampling, "quality": 90}
    )
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    jpeg, flat = encode(pixels, config)
    assert Image.open(io.BytesIO(jpeg)).size == (save_size, save_size)
    assert not flat
    assert encode(np.full_like(pixels, 7), config)[1]
