"""Stage `image`: a diffusion model paints several images of every caption.

    python -m generator.image --recipe nano --root runs/nano

caption shard -> text embeddings -> noise -> latents -> pixels -> JPEG -> image shard

A unit of work is a caption shard; it becomes one shard of `<root>/images`. Work starts with the first caption shard
that is committed and ends when all there will be are painted. Image j of caption i is the same whoever paints it:
`image_seed` gives its noise.
"""

import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from PIL import Image
from torch import Tensor

from config import ConfigError, DataError
from config.cli import run
from config.progress import Progress
from generator import files
from generator.config import GenerateConfig, ImageConfig
from generator.models import device_of, native_precision
from generator.painter import Painter, Pixels, batches
from generator.recipes import RECIPES
from generator.seeds import seed_of
from generator.work import image_settings, refuse_other_settings, stoppable, work
from shards import (
    Lease,
    Marker,
    Sample,
    Storage,
    commit,
    committed,
    dataset_digest,
    markers,
    read_marker,
    read_sample,
    read_samples,
)
from tracking import Run, grid, stage_run

CAPTIONS: Final = "captions"
STAGE: Final = "images"
GRID: Final = "grid.png"
_SHOWN: Final = 12  # captions in the grid
_FLAT: Final = 3  # grey levels between an image's darkest and brightest pixel, below which it shows nothing


Encoded = tuple[bytes, bool]  # a JPEG, and whether it shows nothing


@dataclass(frozen=True)
class Captioned:
    """A caption as its shard holds it; `index` is its number in the run."""

    key: str
    text: str
    index: int
    lineage: dict[str, Any]


def image(config: GenerateConfig) -> None:
    """Paints all captions that have no images yet, together with whoever else works under the root."""
    storage = Storage(config.root)
    config = with_precision(config)
    settings = image_settings(config, _inputs(config))
    refuse_other_settings(storage, STAGE, settings)
    units, each = config.caption.units, config.image.per_caption
    initial = each * sum(len(units[unit]) for unit in committed(storage, STAGE))
    painter: Painter | None = None
    with (
        stage_run(config.tracking, "image", root=config.root, params=config, ledger=storage) as tracked,
        Progress("image", unit="images", total=each * config.caption.count, initial=initial) as progress,
    ):
        ready = partial(committed, storage, CAPTIONS)
        for lease in work(storage, STAGE, config.lease, units, ready, progress, each):
            painter = painter or Painter(config.image)  # not before there is work: a finished stage loads nothing
            source = caption_shard(storage, lease.unit, len(units))
            tally = Tally()
            painted = paint(painter, read_captions(storage, source), config.image, tally)
            lineage = {"settings": settings, "versions": dict(painter.versions), "captions": source.sha256}
            try:
                commit(
                    storage, STAGE, lease.unit, watched(painted, lease, progress, each), units=source.units,
                    attempt=lease.attempt, statistics=tally.numbers, config=lineage,
                )  # fmt: skip
            except LeaseLost:
                continue
            tracked.log_metrics(tally.metrics(), step=int(lease.unit))
        summarise(storage, config, tracked)


def with_precision(config: GenerateConfig) -> GenerateConfig:
    """The config with this machine's own precision in place of `auto`, so that it stands among the images' settings."""
    if config.image.precision != "auto":
        return config
    precision = native_precision(device_of(config.image.device, "image.device"))
    return config.model_copy(update={"image": config.image.model_copy(update={"precision": precision})})


@dataclass
class Tally:
    """What is counted while a unit is painted; `numbers` goes into its marker."""

    numbers: dict[str, Any] = field(default_factory=lambda: {"images": 0, "flat": 0, "cut": 0, "bytes": 0})
    started: float = field(default_factory=time.monotonic)

    def add(self, images: Sequence[Encoded], *, cut: bool) -> None:
        """The images of one caption."""
        self.numbers["images"] += len(images)
        self.numbers["flat"] += sum(flat for _, flat in images)
        self.numbers["bytes"] += sum(len(jpeg) for jpeg, _ in images)
        self.numbers["cut"] += cut
        self.numbers["seconds"] = time.monotonic() - self.started

    def metrics(self) -> dict[str, float]:
        """For tracking."""
        images = self.numbers["images"]
        return {
            "images_per_second": images / self.numbers["seconds"],
            "bytes_mean": self.numbers["bytes"] / images,
            "flat_share": self.numbers["flat"] / images,
        }


class LeaseLost(Exception):
    """Another worker has the unit now."""


def caption_shard(storage: Storage, unit: str, units: int) -> Marker:
    """The marker of a unit's captions.

    Raises:
        ConfigError: the captions were cut into another number of units than the config says.
    """
    marker = read_marker(storage, CAPTIONS, unit)
    if marker.units != units:
        raise ConfigError(
            f"caption.count and caption.per_unit make {units} units, the captions under {storage.root} have "
            f"{marker.units}; give the settings that the captions were made with"
        )
    return marker


def read_captions(storage: Storage, marker: Marker) -> list[Captioned]:
    """The captions of a shard, in order.

    Raises:
        DataError: the shard is corrupt or a sample is no caption, naming shard and sample.
    """
    return [_captioned(sample, marker) for sample in read_samples(storage, marker, fields=("txt", "json"))]


def _captioned(sample: Sample, marker: Marker) -> Captioned:
    try:
        lineage = json.loads(sample.fields["json"])
        return Captioned(sample.key, sample.fields["txt"].decode(), int(lineage["caption_id"]), lineage)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{marker.object_path}: sample {sample.key} is no caption: {error!r}") from error


def image_seed(config: ImageConfig, caption: int, number: int) -> int:
    """Seed of the noise that image `number` of a caption begins with."""
    return seed_of(config.seed, "image", caption, number)


def paint(painter: Painter, captions: Sequence[Captioned], config: ImageConfig, tally: Tally) -> Iterator[Sample]:
    """A sample per caption, in order: its images, text and lineage.

    Threads make JPEGs of one batch while the next is painted.
    """
    texts = painter.encode([one.text for one in captions])
    slots = [(one, number) for one in captions for number in range(config.per_caption)]
    with ThreadPoolExecutor(config.threads) as pool:
        jpegs = _behind(_jpegs(painter, texts, slots, config, pool))
        for one in captions:
            images = list(islice(jpegs, config.per_caption))
            cut = painter.is_cut(one.text)
            tally.add(images, cut=cut)
            yield _sample(one, images, config, cut=cut)


def _jpegs(
    painter: Painter,
    texts: Mapping[str, Tensor],
    slots: Sequence[tuple[Captioned, int]],
    config: ImageConfig,
    pool: ThreadPoolExecutor,
) -> Iterator[list[Future[Encoded]]]:
    """The images of each batch, being encoded."""
    for part in batches(slots, config.batch):
        seeds = [image_seed(config, one.index, number) for one, number in part]
        pixels = painter.paint([texts[one.text] for one, _ in part], seeds)
        yield [pool.submit(encode, image, config) for image in pixels]


def _behind(parts: Iterable[list[Future[Encoded]]]) -> Iterator[Encoded]:
    """Results of each part, waited for only after the next part has begun."""
    waiting: list[Future[Encoded]] = []
    for part in parts:
        yield from (future.result() for future in waiting)
        waiting = part
    yield from (future.result() for future in waiting)


def encode(pixels_HW3: Pixels, config: ImageConfig) -> Encoded:
    """A JPEG, and whether the image is flat: it shows nothing."""
    picture = Image.fromarray(pixels_HW3)
    if config.save_size != config.size:
        picture = picture.resize((config.save_size, config.save_size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=config.quality, subsampling=config.subsampling)
    return buffer.getvalue(), int(pixels_HW3.max()) - int(pixels_HW3.min()) < _FLAT


def _sample(one: Captioned, images: Sequence[Encoded], config: ImageConfig, *, cut: bool) -> Sample:
    t2i = {
        "model": config.model, "scheduler": "ddim", "steps": config.steps, "guidance": config.guidance,
        "eta": config.eta, "precision": config.precision, "size": config.size, "batch": config.batch,
        "seeds": [image_seed(config, one.index, number) for number in range(config.per_caption)],
    }  # fmt: skip
    flags = [f"image {number} is flat" for number, (_, flat) in enumerate(images) if flat]
    flags += ["the painter read only its beginning"] if cut else []
    lineage = {**one.lineage, "flags": [*one.lineage.get("flags", ()), *flags], "t2i": t2i}
    jpegs = {f"{number}.jpg": jpeg for number, (jpeg, _) in enumerate(images)}
    return Sample(one.key, {**jpegs, "txt": one.text.encode(), "json": json.dumps(lineage).encode()})


def watched(samples: Iterable[Sample], lease: Lease, progress: Progress, each: int) -> Iterator[Sample]:
    """The samples, counted as progress; gives the unit up when the lease is lost.

    Raises:
        LeaseLost: go on with another unit.
    """
    done = 0
    for sample in samples:
        if lease.lost:
            progress.add(-done)
            raise LeaseLost
        yield sample
        progress.add(each)
        done += each


def summarise(storage: Storage, config: GenerateConfig, tracked: Run) -> None:
    """Prints and records what all images together are like, with a grid of some of them."""
    found = markers(storage, STAGE)
    total = {key: sum(one.statistics[key] for one in found.values()) for key in ("images", "flat", "cut")}
    size = sum(one.bytes for one in found.values())
    picture = picture_grid(storage, list(found.values()), config.image.per_caption)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    storage.replace(GRID, buffer.getvalue())
    print(
        f"images: {total['images']} in {len(found)} shards ({size / 1e6:.1f} MB) under {storage.root}/{STAGE}; "
        f"{total['flat']} show nothing, {total['cut']} captions were too long; some of them in {storage.root}/{GRID}"
    )
    tracked.log_picture(picture, GRID)
    summary = {"shards": len(found), "bytes": size, **total}
    tracked.log_dataset(STAGE, dataset_digest(found.values()), config.root, summary, context="generation")


def picture_grid(storage: Storage, found: Sequence[Marker], each: int) -> Image.Image:
    """Captions from all over the run with their images."""
    number = min(_SHOWN, sum(marker.samples for marker in found))
    samples = []
    for i in range(number):
        at = i * len(found) / number
        marker = found[int(at)]
        samples.append(read_sample(storage, marker, int((at % 1) * marker.samples)))
    return grid([(one.fields["txt"].decode(), [_open(one, n) for n in range(each)]) for one in samples])


def _open(sample: Sample, number: int) -> Image.Image:
    return Image.open(io.BytesIO(sample.fields[f"{number}.jpg"]))


def _inputs(config: GenerateConfig) -> dict[str, Path]:
    model = Path(files.locate_model(config.image.model, "image.model"))
    return {config.image.model: model} if model.exists() else {}


def main(config: GenerateConfig) -> None:
    """What the command runs."""
    with stoppable():
        image(config)


if __name__ == "__main__":
    run(main, GenerateConfig, RECIPES)
