"""The shards are plain WebDataset: the stock library reads them, knowing nothing of markers."""

import gc
import warnings

import webdataset

from shards import Storage, markers
from tests.shards.scenes import commit_images, image_samples


def test_the_stock_webdataset_library_reads_the_shards(local: Storage) -> None:
    for unit in ("000000", "000001"):
        commit_images(local, unit, seed=int(unit))
    urls = [f"{local.root}/{marker.object_path}" for marker in markers(local, "images").values()]
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves the closing of files to gc
        found = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
        gc.collect()
    expected = [sample for unit in (0, 1) for sample in image_samples(12, seed=unit)]
    assert [one["__key__"] for one in found] == [sample.key for sample in expected]
    names = ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "txt", "json")
    assert [{name: one[name] for name in names} for one in found] == [sample.fields for sample in expected]
