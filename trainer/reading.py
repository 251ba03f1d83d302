"""From the number of a caption to its decoded images: ranged reads of shards, verified, decoded, perhaps remembered."""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from simplejpeg import decode_jpeg
from torch import Tensor

from config import DataError
from shards import Marker, Sample, Storage, read_marker, read_sample
from trainer.cache import ShardCache
from trainer.config import BatchConfig
from trainer.dataset import STAGE, Dataset, Shard
from trainer.order import Order
from trainer.recent import Recent

_IMAGE = re.compile(r"(\d+)\.jpe?g")


@dataclass(frozen=True)
class Caption:
    """A caption and its images."""

    number: int
    """Its place in the dataset, counted through all shards."""
    key: str
    text: str
    concept: str
    """What the caption was made from; empty if its sample does not say."""
    images: tuple[Tensor, ...]
    """uint8 [3, H, W], channels innermost in memory (what resizing wants)."""


class Reader:
    """Reads captions of one dataset. May be sent to another process; each connects by itself."""

    def __init__(self, storage: Storage, dataset: Dataset, order: Order, config: BatchConfig) -> None:
        """`order` must be over the shards of `dataset`."""
        self.storage, self.dataset, self.order, self.config = storage, dataset, order, config
        self._remembered: dict[int, Caption] = {}
        self._remembered_bytes = 0
        # As many as a window has shards: what the order reads from at one time, and the next.
        self._markers = Recent[str, Marker](2 * config.window)
        self._cache: ShardCache | None = None

    def read(self, numbers: Sequence[int]) -> list[Caption | DataError]:
        """The captions with these numbers; one that cannot be used is the error that says why.

        Where a network lies between, several are fetched at once.
        """
        return list(self.storage.each(self._caption, numbers))

    def _caption(self, number: int) -> Caption | DataError:
        if number in self._remembered:
            return self._remembered[number]
        shard_index, index = self.order.place(number)
        shard = self.dataset.shards[shard_index]
        try:
            caption = decode(number, self._sample(shard, index), self.storage.url(f"{STAGE}/{shard.object}"))
            self._enough(caption, shard)
        except DataError as error:
            return error
        self._remember(caption)
        return caption

    def _enough(self, caption: Caption, shard: Shard) -> None:
        wanted, there = self.config.images_per_caption, len(caption.images)
        if there < wanted:
            raise DataError(
                f"{self.storage.url(f'{STAGE}/{shard.object}')}: sample {caption.key!r} has {there} images, "
                f"batch.images_per_caption asks for {wanted}"
            )

    def _sample(self, shard: Shard, index: int) -> Sample:
        marker = self._marker(shard)
        cache = self._shard_cache()
        if cache is None:
            return read_sample(self.storage, marker, index)
        try:
            return read_sample(cache.fetched(shard), marker, index)
        except DataError:
            # Evicted between two calls, or damaged on the way: the remote decides.
            cache.forget(shard)
            return read_sample(self.storage, marker, index)

    def _marker(self, shard: Shard) -> Marker:
        marker = self._markers.get(shard.unit, lambda: read_marker(self.storage, STAGE, shard.unit))
        if marker.sha256 != shard.sha256:
            raise DataError(
                f"{self.storage.url(marker.path)} changed while the run reads it: shard {shard.unit} was made again. "
                "Begin a new run (--run NAME)"
            )
        return marker

    def _remember(self, caption: Caption) -> None:
        size = sum(image.numel() for image in caption.images)
        if self._remembered_bytes + size <= self.config.memory_bytes:
            self._remembered[caption.number] = caption
            self._remembered_bytes += size

    def _shard_cache(self) -> ShardCache | None:
        if self._cache is None and self.config.cache_bytes and self.storage.backend.remote:
            folder = Path(self.config.cache_folder or Path(tempfile.gettempdir()) / "reverie-shards")
            self._cache = ShardCache(self.storage, folder, self.dataset.digest[:16], self.config.cache_bytes)
        return self._cache


def decode(number: int, sample: Sample, where: str) -> Caption:
    """The caption and images of a sample. Raises DataError naming the shard (`where`), the key and the field."""
    text = sample.fields.get("txt", b"").decode("utf-8", "replace").strip()
    if not text:
        problem = "is empty" if "txt" in sample.fields else "is missing"
        raise DataError(f"{where}: sample {sample.key!r}: its caption, the field 'txt', {problem}")
    fields = sorted((int(match[1]), field) for field in sample.fields if (match := _IMAGE.fullmatch(field)))
    images = tuple(_image(sample.fields[field], f"{where}: sample {sample.key!r}: {field!r}") for _, field in fields)
    return Caption(number, sample.key, text, _concept(sample), images)


def _concept(sample: Sample) -> str:
    try:
        lineage = json.loads(sample.fields.get("json", b"{}"))
    except ValueError:
        return ""
    return str(lineage.get("concept", "")) if isinstance(lineage, dict) else ""


def _image(data: bytes, where: str) -> Tensor:
    try:
        pixels = decode_jpeg(data, colorspace="RGB")
    except ValueError as error:
        raise DataError(f"{where} is no complete JPEG ({len(data)} bytes): {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)
