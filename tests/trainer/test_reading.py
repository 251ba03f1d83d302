"""From a caption's number to its images."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from config import DataError
from shards import Sample, Storage
from tests.trainer.scenes import images, jpeg, pretrain_config, sample, shard
from trainer.config import BatchConfig
from trainer.dataset import dataset_of
from trainer.order import Order
from trainer.reading import Caption, Reader


def reader(root: str, **changes: object) -> Reader:
    config = pretrain_config(root).batch.model_copy(update=changes)
    return make(root, config)


def make(root: str, config: BatchConfig) -> Reader:
    from shards import markers

    dataset = dataset_of(markers(Storage(root), "images").values())
    order = Order([one.samples for one in dataset.shards], seed=0, window=2)
    return Reader(Storage(root), dataset, order, config)


def with_sample(tmp_path: Path, bad: Sample) -> Reader:
    shard(Storage(str(tmp_path)), 0, [sample(0), bad], units=1)
    return reader(str(tmp_path))


def error(one: Caption | DataError) -> str:
    assert isinstance(one, DataError)
    return str(one)


def test_captions_have_their_text_key_and_images(tmp_path: Path):
    images(str(tmp_path), shards=2, per_shard=3)
    first, last = reader(str(tmp_path)).read([0, 5])
    assert isinstance(first, Caption)
    assert isinstance(last, Caption)
    assert (first.key, first.text, last.key, last.text) == ("c000000", "caption 0", "c000005", "caption 5")
    assert [image.shape for image in last.images] == [(3, 32, 32)] * 2


def test_pixels_are_those_that_pillow_reads(tmp_path: Path):
    import io

    from PIL import Image

    images(str(tmp_path), shards=1, per_shard=1)
    caption = reader(str(tmp_path), captions=1).read([0])[0]
    assert isinstance(caption, Caption)
    theirs = np.asarray(Image.open(io.BytesIO(jpeg(0)))).astype(int)
    assert np.array_equal(caption.images[0].permute(1, 2, 0).numpy(), theirs)


def test_a_truncated_image_is_named(tmp_path: Path):
    bad = sample(1)
    cut = replace(bad, fields=bad.fields | {"1.jpg": bad.fields["1.jpg"][:200]})
    said = error(with_sample(tmp_path, cut).read([1])[0])
    assert "000000-test.tar: sample 'c000001': '1.jpg' is no complete JPEG (200 bytes)" in said


def test_a_missing_or_empty_caption_is_named(tmp_path: Path):
    fields = {name: data for name, data in sample(1).fields.items() if name != "txt"}
    said = error(with_sample(tmp_path, Sample("c000001", fields)).read([1])[0])
    assert "000000-test.tar: sample 'c000001': its caption, the field 'txt', is missing" in said


def test_an_empty_caption_is_named(tmp_path: Path):
    said = error(with_sample(tmp_path, Sample("c000001", sample(1).fields | {"txt": b" \n"})).read([1])[0])
    assert "'txt', is empty" in said


def test_too_few_images_are_named(tmp_path: Path):
    said = error(with_sample(tmp_path, sample(1, views=1)).read([1])[0])
    assert "'c000001' has 1 images, batch.images_per_caption asks for 2" in said


def test_a_corrupt_tar_is_named_with_the_sample(tmp_path: Path):
    images(str(tmp_path), shards=1, per_shard=3)
    tar = next((tmp_path / "images").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 255
    tar.write_bytes(data)
    found = reader(str(tmp_path), captions=1).read([0, 1, 2])
    bad = [one for one in found if isinstance(one, DataError)]
    assert len(bad) == 1
    assert "000000-test.tar" in str(bad[0])
    assert "c000001" in str(bad[0])


def test_a_shard_that_was_made_again_is_noticed(tmp_path: Path):
    images(str(tmp_path), shards=1, per_shard=2)
    one = reader(str(tmp_path), captions=1)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    shard(Storage(str(tmp_path)), 0, [sample(5), sample(6)], units=1)
    assert "changed while the run reads it" in error(one.read([0])[0])


def test_images_are_remembered_up_to_a_number_of_bytes(tmp_path: Path):
    """A caption has 2 x 3 x 32 x 32 = 6144 bytes: two fit into 13,000, the third is read every time."""
    images(str(tmp_path), shards=1, per_shard=3)
    one = reader(str(tmp_path), captions=1, memory_bytes=13_000)
    one.read([0, 1, 2])
    next((tmp_path / "images").glob("*.tar")).unlink()
    assert [isinstance(found, Caption) for found in one.read([0, 1, 2])] == [True, True, False]


def test_goes_to_another_process(tmp_path: Path):
    images(str(tmp_path))
    one = reader(str(tmp_path))
    one.read([0])
    copy = pickle.loads(pickle.dumps(one))
    assert copy.read([3])[0].key == "c000003"
