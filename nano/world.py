"""The small world: scenes drawn procedurally, each with its image, caption, class labels and segmentation mask.

It is the laptop's labelled "real" data. A scene depends on (seed, split, index) alone; train and test scenes come
from streams that never meet, and no generated image enters either.

Shapes in names: H, W picture height and width (equal), C = 3 colour channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nano import backgrounds, shapes
from nano import vocabulary as words

Split = Literal["train", "test", "painter", "judge"]
_STREAMS: dict[Split, int] = {"train": 0, "test": 1, "painter": 2, "judge": 3}
TASKS = ("shape", "colour", "background", "texture", "shape_colour")


@dataclass(frozen=True)
class Thing:
    """One object. x, y and radius are shares of the picture's side, angle is in radians."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def position(self) -> tuple[int, int]:
        """(column, row), each -1, 0 or 1: the cell a caption names."""
        return _third(self.x), _third(self.y)


@dataclass(frozen=True)
class Scene:
    """One or two things on a background; with two, `relation` says where the first is, seen from the second."""

    things: tuple[Thing, ...]
    background: str
    relation: str | None
    noise: int  # seed of what no caption tells: grain of the background, its phase and brightness

    def labels(self) -> dict[str, int]:
        """The class of the first thing and of the background for every task, and of shape with colour."""
        first = self.things[0]
        shape, colour = words.SHAPES.index(first.shape), tuple(words.COLOURS).index(first.colour)
        return {
            "shape": shape,
            "colour": colour,
            "background": words.BACKGROUNDS.index(self.background),
            "texture": words.TEXTURES.index(first.texture),
            "shape_colour": shape * len(words.COLOURS) + colour,
        }


CLASSES: dict[str, int] = {
    "shape": len(words.SHAPES),
    "colour": len(words.COLOURS),
    "background": len(words.BACKGROUNDS),
    "texture": len(words.TEXTURES),
    "shape_colour": len(words.SHAPES) * len(words.COLOURS),
}


def names() -> dict[str, list[list[str]]]:
    """Of each task's classes, what a caption may call them after an article, without what it leaves open.

    A colour is told by the shapes that may have it, and a shape by its colours, because captions name both.
    """
    return {
        "shape": [[f"{colour} {shape}" for colour in words.COLOURS] for shape in words.SHAPES],
        "colour": [[f"{colour} {shape}" for shape in words.SHAPES] for colour in words.COLOURS],
        "background": [
            [f"{s} {p}" for p in words.BACKGROUND_PHRASES[b] for s in words.SHAPES] for b in words.BACKGROUNDS
        ],
        "texture": [[f"{w} {s}" for w in words.TEXTURE_WORDS[t] for s in words.SHAPES] for t in words.TEXTURES],
        "shape_colour": [[f"{colour} {shape}"] for shape in words.SHAPES for colour in words.COLOURS],
    }


def scene(seed: int, split: Split, index: int, *, pairs: float = 0.0) -> Scene:
    """Scene `index` of a split; `pairs` is the share of scenes with two things."""
    rng = np.random.Generator(np.random.Philox(key=[seed, _STREAMS[split] << 48 | index]))
    background = _pick(rng, words.BACKGROUNDS)
    things: tuple[Thing, ...]
    if rng.random() < pairs:
        relation = _pick(rng, words.RELATIONS)
        things = _pair(rng, relation)
    else:
        relation, things = None, (_single(rng),)
    return Scene(things, background, relation, int(rng.integers(2**31)))


def render(scene: Scene, side: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture [H, W, C] and its mask [H, W]: 0 is background, otherwise 1 + the shape's class."""
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = (axis.astype(np.float32) for axis in np.meshgrid(centres, centres))
    image = backgrounds.paint(scene.background, x, y, np.random.default_rng(scene.noise))
    mask = np.zeros((side, side), np.uint8)
    for thing in scene.things:
        cover = _draw(image, thing, x, y)
        mask[cover > 0.5] = 1 + words.SHAPES.index(thing.shape)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask


def _draw(image: NDArray[np.float32], thing: Thing, x: shapes.Array, y: shapes.Array) -> NDArray[np.float32]:
    """Paints `thing` over `image` in place and returns its coverage [H, W]."""
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    dx, dy = (x - np.float32(thing.x)) / thing.radius, (y - np.float32(thing.y)) / thing.radius
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    pixels = shapes.distance(thing.shape, u, v) * np.float32(thing.radius * len(x))
    cover: NDArray[np.float32] = np.clip(np.float32(0.5) - pixels, 0, 1)
    rim = np.clip(pixels + 1.5, 0, 1)  # a thin rim keeps black in the night and white in the snow visible
    tone = np.asarray(words.COLOURS[thing.colour], np.float32)
    second, edge = (np.asarray(c, np.float32) for c in words.shades(thing.colour))
    weight = shapes.pattern(thing.texture, u, v)[..., None]
    colour = tone * (1 - weight) + second * weight
    colour = colour * (1 - rim[..., None]) + edge * rim[..., None]
    image += (colour - image) * cover[..., None]
    return cover


def _single(rng: np.random.Generator) -> Thing:
    size = _pick(rng, tuple(words.SIZES))
    radius = rng.uniform(*words.SIZES[size])
    x, y = rng.uniform(radius + 0.02, 0.98 - radius, 2)
    return _thing(rng, size, radius, x, y)


def _pair(rng: np.random.Generator, relation: str) -> tuple[Thing, Thing]:
    near, far = rng.uniform(0.24, 0.28), rng.uniform(0.72, 0.76)
    across = rng.uniform(0.4, 0.6, 2)
    first, second = (near, far) if relation in ("left of", "above") else (far, near)
    sideways = relation in ("left of", "right of")
    spots = [(first, across[0]), (second, across[1])]
    radii = rng.uniform(*words.PAIR_RADIUS, 2)
    one, two = (
        _thing(rng, "small", r, *(spot if sideways else spot[::-1])) for r, spot in zip(radii, spots, strict=True)
    )
    if (one.shape, one.colour) == (two.shape, two.colour):  # a relation between two equal things says nothing
        two = Thing(**{**vars(two), "colour": _pick(rng, [c for c in words.COLOURS if c != one.colour])})
    return one, two


def _thing(rng: np.random.Generator, size: str, radius: float, x: float, y: float) -> Thing:
    shape, colour, texture = (_pick(rng, pool) for pool in (words.SHAPES, tuple(words.COLOURS), words.TEXTURES))
    return Thing(shape, colour, texture, size, float(x), float(y), float(radius), float(rng.uniform(-0.45, 0.45)))


def _third(value: float) -> int:
    return int(value > 0.58) - int(value < 0.42)


def _pick(rng: np.random.Generator, pool: Sequence[str]) -> str:
    return pool[int(rng.integers(len(pool)))]
