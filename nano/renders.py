"""Labelled renders of the small world as shards: the laptop's "real" data, on which encoders are evaluated.

    python -m nano.renders --recipe nano --data runs/nano/labelled

writes the stages `train` and `test`. A sample has `png`, `mask.png` (0 is background, otherwise 1 + the shape's class)
and `json`, which holds the class per task and a caption; a marker's config holds the number of classes per task and
their names.
Scenes depend on (seed, split, index) alone, so a killed run continues where it was and gives the same bytes.
"""

import io
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from config import DataError, Section, cli
from config.progress import Progress
from nano import captions, world
from shards import Sample, Storage, commit, markers

SPLITS: Final[tuple[world.Split, ...]] = ("train", "test")
UNIT: Final = 500  # renders per shard: a second of work, so that being killed costs no more


class RendersConfig(Section):
    """How many renders, and where they go."""

    data: str = Field("runs/nano/labelled", min_length=1)
    """URI of the folder that gets `train/` and `test/`; what `trainer.evaluate` is given as `data`."""
    seed: int = Field(0, ge=0)
    """Seed of the scenes. Another seed needs another folder."""
    train: int = Field(4000, gt=0)
    """Renders that k-NN compares with and probes are trained on. 4000 are 250 per shape."""
    test: int = Field(2000, gt=0)
    """Renders that results are measured on: one point is 20 renders."""
    side: int = Field(64, ge=32)
    """Side of a render, pixels: what the painter paints."""


def nano() -> RendersConfig:
    """What the quick start evaluates on."""
    return RendersConfig()


RECIPES: Final = {"nano": nano}


def main(config: RendersConfig, per_unit: int = UNIT) -> None:
    """Writes what is not there yet, `per_unit` renders to a shard.

    Raises:
        DataError: the folder holds renders of other settings.
    """
    storage = Storage(config.data)
    for split in SPLITS:
        made_with = settings(config, split)
        units = -(-made_with["count"] // per_unit)
        found = markers(storage, split)
        for marker in found.values():
            _check(storage, marker.path, marker.config, made_with)
        done = sum(marker.samples for marker in found.values())
        with Progress(f"render {split}", unit="renders", total=made_with["count"], initial=done) as counter:
            for unit in (f"{n:06}" for n in range(units)):
                if unit in found:
                    continue
                marker = commit(
                    storage, split, unit, samples(config, split, int(unit), per_unit), units=units,
                    attempt=secrets.token_hex(4), statistics={}, config=made_with,
                )  # fmt: skip
                _check(storage, marker.path, marker.config, made_with)
                counter.add(marker.samples)


def settings(config: RendersConfig, split: world.Split) -> dict[str, Any]:
    """All that the bytes of a split depend on, and what a reader must know."""
    count = config.train if split == "train" else config.test
    base = {"classes": world.CLASSES, "seed": config.seed, "count": count, "side": config.side}
    return {**base, "names": world.names()}


def samples(config: RendersConfig, split: world.Split, unit: int, per_unit: int) -> Iterator[Sample]:
    """The renders of one unit, of which all but the last have `per_unit`."""
    count = config.train if split == "train" else config.test
    for index in range(unit * per_unit, min((unit + 1) * per_unit, count)):
        scene = world.scene(config.seed, split, index)
        image, mask = world.render(scene, config.side)
        caption = captions.describe(scene, np.random.default_rng([config.seed, SPLITS.index(split), index]))
        yield Sample(
            f"{index:08}",
            {
                "png": png(image),
                "mask.png": png(mask),
                "json": json.dumps({"labels": scene.labels(), "caption": caption}).encode(),
            },
        )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image [H, W, C] or a mask [H, W] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _check(storage: Storage, path: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    # Names say nothing of the bytes: renders from before there were any are as good.
    changed = [key for key, value in wanted.items() if key != "names" and found.get(key) != value]
    if changed:
        other = [f"{key} {found.get(key)!r} instead of {wanted[key]!r}" for key in changed]
        raise DataError(
            f"{storage.url(path)} was rendered with {', '.join(other)}: give --data another folder, "
            "the settings from before, or delete the old renders"
        )


if __name__ == "__main__":
    os.nice(10)  # renders are read last: stages that run beside go first
    cli.run(main, RendersConfig, RECIPES)
