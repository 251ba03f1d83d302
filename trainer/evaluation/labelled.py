"""Labelled images from shards: the stages `train` and `test` under one root.

A sample has `png` or `jpg`, and `json` with {"labels": {task: class}}; a marker's config has
{"classes": {task: count}} and may have {"names": {task: [a name or several, for each class]}}, by which classes are
told in words. `python -m nano.renders` writes such shards. Shapes: B images of a batch, H = W pixels.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from config import ConfigError, DataError
from shards import Marker, Sample, Storage, dataset_digest, markers, read_samples, total_units
from trainer.evaluation.waiting import NotYet

SPLITS: Final = ("train", "test")
IMAGES: Final = ("png", "jpg", "jpeg", "webp")
COMMAND: Final = "python -m nano.renders --recipe nano --data {data}"


@dataclass(frozen=True)
class Labelled:
    """One complete split."""

    storage: Storage
    split: str
    markers: Sequence[Marker]
    classes: Mapping[str, int]
    """Classes per task."""
    names: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Per task, the names that each class goes by. Empty: the shards have none."""

    def __len__(self) -> int:
        return sum(marker.samples for marker in self.markers)

    @property
    def digest(self) -> str:
        """Names the content."""
        return dataset_digest(self.markers)

    def summary(self) -> dict[str, Any]:
        """What there is, for people."""
        size = sum(marker.bytes for marker in self.markers)
        return {"shards": len(self.markers), "samples": len(self), "bytes": size, "classes": dict(self.classes)}

    def batches(self, side: int, size: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """uint8 images [B, 3, side, side] and their classes, in the order of the shards.

        Raises:
            DataError: a sample without an image or label, or with one that cannot be read; names the shard.
        """
        images: list[Tensor] = []
        labels: list[Mapping[str, int]] = []
        for marker in self.markers:
            for sample in read_samples(self.storage, marker):
                where = f"{self.storage.url(marker.object_path)}: sample {sample.key!r}"
                images.append(_image(sample, side, where))
                labels.append(_labels(sample, self.classes, where))
                if len(images) == size:
                    yield _batch(images, labels)
                    images, labels = [], []
        if images:
            yield _batch(images, labels)


def find(storage: Storage, split: str, tasks: Sequence[str]) -> Labelled:
    """The split, if all of its shards are committed.

    Raises:
        NotYet: shards are missing.
        DataError: the shards carry no classes, or disagree.
        ConfigError: a task that they do not have.
    """
    found = markers(storage, split)
    total = total_units(found)
    if total is None or len(found) < total:
        command = COMMAND.format(data=storage.root)
        raise NotYet(f"{storage.url(split)}: {len(found)} of {total or '?'} labelled shards. Make them: {command}")
    every = list(found.values())
    classes = every[0].config.get("classes")
    if not isinstance(classes, dict) or not classes:
        raise DataError(f"{storage.url(every[0].path)}: its config has no classes, so these are no labelled shards")
    for marker in every:
        if marker.config.get("classes") != classes:
            raise DataError(f"{storage.url(marker.path)}: its classes are not those of {every[0].path}")
    unknown = [task for task in tasks if task not in classes]
    if unknown:
        raise ConfigError(f"tasks: no task {unknown[0]!r} in {storage.url(split)}; known: {', '.join(classes)}")
    chosen = {task: classes[task] for task in tasks or classes}
    return Labelled(storage, split, every, chosen, _names(every[0], chosen, storage.url(every[0].path)))


def _names(marker: Marker, classes: Mapping[str, int], where: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    found = marker.config.get("names")
    if found is None:
        return {}
    try:
        names = {
            task: tuple((name,) if isinstance(name, str) else tuple(map(str, name)) for name in found[task])
            for task in classes
        }
    except (KeyError, TypeError):
        raise DataError(f"{where}: its names must be a list of names for each of {', '.join(classes)}") from None
    for task, count in classes.items():
        if len(names[task]) != count or not all(names[task]):
            raise DataError(f"{where}: {task} has {count} classes, and names for {sum(map(bool, names[task]))}")
    return names


def resize(image: Image.Image, side: int) -> Image.Image:
    """Shorter side to `side` (bicubic), then the middle: the usual evaluation of ViTs. Leaves images of that size."""
    if image.size == (side, side):
        return image
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    larger = image.resize((width, height), Image.Resampling.BICUBIC)
    return larger.crop((left, top, left + side, top + side))


def _image(sample: Sample, side: int, where: str) -> Tensor:
    name = next((name for name in IMAGES if name in sample.fields), None)
    if name is None:
        raise DataError(f"{where} has no image; expected one of {', '.join(IMAGES)}, got {', '.join(sample.fields)}")
    try:
        with Image.open(io.BytesIO(sample.fields[name])) as image:
            pixels = np.array(resize(image.convert("RGB"), side))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{where}: its {name} cannot be read: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _labels(sample: Sample, classes: Mapping[str, int], where: str) -> dict[str, int]:
    try:
        labels = json.loads(sample.fields["json"])["labels"]
        chosen = {task: labels[task] for task in classes}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} has no labels {', '.join(classes)} in its json") from error
    for task, label in chosen.items():
        if not isinstance(label, int) or not 0 <= label < classes[task]:
            raise DataError(f"{where}: its {task} must be a class in 0..{classes[task] - 1}, got {label!r}")
    return chosen


def _batch(images: list[Tensor], labels: list[Mapping[str, int]]) -> tuple[Tensor, dict[str, Tensor]]:
    return torch.stack(images), {task: torch.tensor([label[task] for label in labels]) for task in labels[0]}
