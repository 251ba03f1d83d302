"""From shards to the tensors of a step, stage by stage:

    raw → raised → counted → augmented

`Maker` reads, decodes and crops one micro-batch, in worker processes that ship bytes; colour and sharpness follow in
the training process, batched, on its device. What a micro-batch holds depends on the seed, its number and the dataset
alone, because every random number is a function of the sample's position in the order (`draws.py`).

Shapes: B captions of this rank, V images per caption, C global crops per image, G = C * V * B global crops (for crop:
for view: for caption), L local crops per image (likewise), N patches of a global crop, S and s sides of the crops, T
numbers of a text.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from config import ConfigError, ReverieError
from trainer.augment import augment, draw_looks
from trainer.concepts import NO_CLASS, classes_of
from trainer.config import BatchConfig, PretrainConfig
from trainer.crops import downsampled, draw_boxes, resized
from trainer.draws import Draw, Ints, permutation, uniform
from trainer.masks import token_mask
from trainer.models.tokenizers import text_of
from trainer.reading import Caption, Reader
from trainer.skipping import Tally, usable
from trainer.text_views import text_views_of

Batch = dict[str, Tensor]
Images = list[list[Tensor]]
"""[B][V], each uint8 [3, H, W]."""


class Views(TypedDict):
    """Captions in two views."""

    masked: Tensor
    """int64 [B, T]: the caption with words to guess (`text_views.py`); T is 0 where the objective wants no views."""
    guesses: Tensor
    """int64 [B, T]: the numbers to guess, -1 where there is nothing; likewise."""
    changed: Tensor
    """int64 [B, T]: the caption in another view; likewise."""


class Raw(Views):
    """What a worker ships for one micro-batch."""

    positions: Tensor
    """int64 [B]: places in the order of the run."""
    labels: Tensor
    """int64 [B]: numbers of the captions in the dataset."""
    global_crops: Tensor
    """uint8 [G, 3, S, S]"""
    local_crops: Tensor
    """uint8 [L * V * B, 3, s, s]"""
    mask: Tensor
    """bool [G, N]"""
    tokens: Tensor
    """int64 [B, T]; T is 0 where the objective reads no text."""
    concepts: Tensor
    """int64 [B]: the class of the caption's concept, or -1; -1 too where the objective has no classes."""
    skipped: list[str]
    """One message for each sample that was replaced."""


@dataclass(frozen=True)
class Part:
    """Which captions of a micro-batch are this rank's. Micro-batch m of a run is positions [m * M, (m + 1) * M)."""

    micro: int
    """Captions of a micro-batch over all ranks (M)."""
    captions: int
    """Captions of this rank (B)."""
    rank: int

    @property
    def slots(self) -> Ints:
        """Places of this rank's captions in the micro-batch."""
        return np.arange(self.rank * self.captions, (self.rank + 1) * self.captions)

    def positions(self, micro: int) -> Ints:
        """Their places in the order of the run."""
        return micro * self.micro + self.slots


def part_of(config: PretrainConfig, world: int, rank: int) -> Part:
    """Raises ConfigError if the captions of a step do not divide among ranks and micro-batches."""
    captions, accumulate = config.batch.captions, config.engine.accumulate
    if captions % (world * accumulate):
        raise ConfigError(
            f"batch.captions must be divisible by ranks x engine.accumulate ({world} x {accumulate}), got {captions}"
        )
    return Part(micro=captions // accumulate, captions=captions // accumulate // world, rank=rank)


class Maker(Dataset[Raw | ReverieError]):
    """Makes micro-batches by their number in the run. May be sent to another process."""

    def __init__(self, config: PretrainConfig, reader: Reader, part: Part) -> None:
        self.config, self.model, self.seed = config.batch, config.model, config.seed
        self.reader, self.part = reader, part
        self.text_views = text_views_of(config.objective, config.seed)
        self.tokenizer, self.classes = text_of(config.objective), classes_of(config.objective)

    def __getitem__(self, micro: int) -> Raw | ReverieError:
        """Errors come back as values: one raised in a worker would arrive as a traceback glued into a message."""
        try:
            return self.make(micro)
        except ReverieError as error:
            return error

    def make(self, micro: int) -> Raw:
        """Raises DataError for samples that cannot be used (`skipping.usable`)."""
        positions = self.part.positions(micro)
        captions, skipped = usable(self.reader, self.seed, positions)
        images = self._images(captions, positions)
        config = self.config
        whole, local = crop_numbers(config)
        return {
            "positions": torch.from_numpy(positions),
            "labels": torch.tensor([caption.number for caption in captions]),
            "global_crops": self._crops(images, positions, whole, self.model.image_size, config.global_scale),
            "local_crops": self._crops(images, positions, local, config.local_size, config.local_scale),
            "mask": self._mask(micro),
            "tokens": self._tokens(captions),
            **self._text_views(captions, positions),
            "concepts": torch.tensor([self.classes.get(caption.concept, NO_CLASS) for caption in captions]),
            "skipped": skipped,
        }

    def _images(self, captions: Sequence[Caption], positions: Ints) -> Images:
        """Of each caption as many images as asked for, drawn if it has more; a few of them downsampled."""
        views = self.config.images_per_caption
        chosen: Images = []
        for caption, position in zip(captions, positions, strict=True):
            there = len(caption.images)
            which = range(views) if there == views else permutation(there, self.seed, Draw.IMAGES, int(position))
            chosen.append([caption.images[index] for index in which[:views]])
        self._downsample(chosen, positions)
        return chosen

    def _downsample(self, images: Images, positions: Ints) -> None:
        """In place, on the lists."""
        config, views = self.config.augment, np.arange(self.config.images_per_caption)
        if not config.downsample:
            return
        draws = uniform(self.seed, Draw.DOWNSAMPLE, positions[:, None, None], views[:, None], np.arange(2))
        for slot, view in np.argwhere(draws[:, :, 0] < config.downsample):
            size = config.downsample_sizes[int(draws[slot, view, 1] * len(config.downsample_sizes))]
            images[slot][view] = downsampled(images[slot][view], size)

    def _crops(
        self, images: Images, positions: Ints, crops: Sequence[int], size: int, scale: tuple[float, float]
    ) -> Tensor:
        views = self.config.images_per_caption
        position, view, crop = coordinates(positions, views, crops)
        flat = [images[slot][view] for _ in crops for view in range(views) for slot in range(len(images))]
        height, width = (np.array([image.shape[axis] for image in flat], np.int64) for axis in (1, 2))
        boxes = draw_boxes(self.seed, position, view, crop, height, width, scale)
        made = torch.empty(len(flat), 3, size, size, dtype=torch.uint8)
        for index, image in enumerate(flat):
            made[index] = resized(image, boxes, index, size)
        return made

    def _tokens(self, captions: Sequence[Caption]) -> Tensor:
        if self.tokenizer is None:
            return torch.zeros(len(captions), 0, dtype=torch.int64)
        return torch.tensor([self.tokenizer(caption.text) for caption in captions])

    def _text_views(self, captions: Sequence[Caption], positions: Ints) -> Views:
        if self.text_views is None:
            none = torch.zeros(len(captions), 0, dtype=torch.int64)
            return {"masked": none, "guesses": none, "changed": none}
        texts = list(zip((caption.text for caption in captions), positions.tolist(), strict=True))
        masked, guesses = zip(*(self.text_views.masked(*text) for text in texts), strict=True)
        changed = [self.text_views.changed(*text) for text in texts]
        return {"masked": torch.tensor(masked), "guesses": torch.tensor(guesses), "changed": torch.tensor(changed)}

    def _mask(self, micro: int) -> Tensor:
        views, part, config = self.config.global_crops * self.config.images_per_caption, self.part, self.config
        rows = (np.arange(views)[:, None] * part.micro + part.slots).reshape(-1)
        crops = views * part.micro
        mask = token_mask(self.seed, micro, rows, crops, self.model.tokens, config.masked_images, config.masked_tokens)
        return torch.from_numpy(mask)


def crop_numbers(config: BatchConfig) -> tuple[range, range]:
    """What tells the crops of an image apart in `draws.py`: those of the global ones, then those of the local ones."""
    crops = config.global_crops
    return range(crops), range(crops, crops + config.local_crops)


def image_numbers(label_B: Tensor, config: BatchConfig) -> Tensor:
    """int64 [G]: one number for each image of the dataset, the same for all its global crops."""
    views = config.images_per_caption
    number_VB = label_B * views + torch.arange(views)[:, None]
    return number_VB.flatten().repeat(config.global_crops)


def coordinates(positions: Ints, views: int, crops: Sequence[int]) -> tuple[Ints, Ints, Ints]:
    """Position, view and crop of every row of a batch of crops: for crop: for view: for caption."""
    crop, view, position = np.meshgrid(np.asarray(crops, np.int64), np.arange(views), positions, indexing="ij")
    return position.reshape(-1), view.reshape(-1), crop.reshape(-1)


def raw(maker: Maker, start: int, pin: bool) -> Iterator[Raw | ReverieError]:
    """Micro-batches from number `start` on, endlessly and in order, whatever the number of workers."""
    workers = maker.config.workers
    loader = DataLoader(
        maker,
        batch_size=None,
        sampler=range(start, sys.maxsize),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin,
        worker_init_fn=_begin_worker if workers else None,
        prefetch_factor=maker.config.prefetch if workers else None,
        # Not fork: the parent has threads and open connections, which do not survive it.
        multiprocessing_context="forkserver" if workers else None,
    )
    yield from loader


def raised(items: Iterator[Raw | ReverieError]) -> Iterator[Raw]:
    """The micro-batches; an error among them is raised here."""
    for item in items:
        if isinstance(item, ReverieError):
            raise item
        yield item


def counted(raws: Iterator[Raw], tally: Tally) -> Iterator[Raw]:
    """Unchanged, and counted; raises DataError when too many samples were skipped."""
    for one in raws:
        tally.add(len(one["labels"]), one["skipped"])
        yield one


def augmented(
    raws: Iterator[Raw], config: PretrainConfig, keys: Collection[str], device: torch.device
) -> Iterator[Batch]:
    """Micro-batches as the objective takes them: the tensors in `keys`, crops as normalised floats, on the device."""
    whole, local = crop_numbers(config.batch)
    for one in raws:
        made = {"global_crops", "local_crops", "skipped"}
        plain = {name: value for name, value in one.items() if isinstance(value, Tensor) and name not in made}
        wanted = {name: value for name, value in plain.items() if name == "labels" or name in keys}
        if "images" in keys:
            wanted["images"] = image_numbers(one["labels"], config.batch)
        batch: Batch = {name: value.to(device, non_blocking=True) for name, value in wanted.items()}
        batch["global_crops"] = _coloured(one["global_crops"], one["positions"], config, whole, device)
        if "local_crops" in keys and local:
            batch["local_crops"] = _coloured(one["local_crops"], one["positions"], config, local, device)
        yield batch


def _coloured(
    crops: Tensor, positions: Tensor, config: PretrainConfig, which: Sequence[int], device: torch.device
) -> Tensor:
    settings = config.batch.augment
    where = coordinates(positions.numpy(), config.batch.images_per_caption, which)
    looks = draw_looks(settings, config.seed, *where, local=which[0] >= config.batch.global_crops)
    return augment(crops.to(device, non_blocking=True), looks, settings)


def _as_it_is(item: Any) -> Any:
    return item


def _begin_worker(_: int) -> None:
    # Signals are for the training process: it saves, and only then do its workers end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    # torch watches the process that forked this one: the fork server, which stays as long as this one does, so after
    # kill -9 of the training process both would stay for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
