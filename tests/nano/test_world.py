"""The small world's pictures and labels can be trusted: they are the laptop's ground truth."""

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from nano import shapes, world
from nano import vocabulary as words
from nano.world import CLASSES, TASKS, Scene, Split, Thing

SPLITS: tuple[Split, ...] = get_args(Split)


@cache
def scenes(count: int, *, split: Split = "train", seed: int = 0, pairs: float = 0.0) -> tuple[Scene, ...]:
    return tuple(world.scene(seed, split, index, pairs=pairs) for index in range(count))


PLAIN = Thing("disc", "red", "solid", "large", x=0.5, y=0.5, radius=0.35, angle=0.0)


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    again = world.scene(3, "test", 12345, pairs=0.5)
    world.scene(3, "test", 1, pairs=0.5)
    assert world.scene(3, "test", 12345, pairs=0.5) == again
    others = [world.scene(4, "test", 12345), world.scene(3, "train", 12345), world.scene(3, "test", 12346)]
    assert again not in others


def test_a_picture_is_the_same_to_the_last_bit_each_time() -> None:
    for one in scenes(8, pairs=0.5):
        (picture, mask), (picture_again, mask_again) = world.render(one), world.render(one)
        assert np.array_equal(picture, picture_again)
        assert np.array_equal(mask, mask_again)


def test_no_two_splits_share_a_scene() -> None:
    seen = {split: set(scenes(3000, split=split, pairs=0.2)) for split in SPLITS}
    assert all(len(found) == 3000 for found in seen.values())  # nor does a scene come twice within a split
    assert len(set.union(*seen.values())) == 3000 * len(SPLITS)


def test_train_and_test_pictures_differ_even_without_their_noise() -> None:
    """A scene seen twice with another grain of its background would be a leak too."""
    bare = {split: {(s.things, s.background) for s in scenes(3000, split=split)} for split in ("train", "test")}
    assert not bare["train"] & bare["test"]


@pytest.mark.parametrize("side", [32, 40, 48, 56, 64])
def test_every_size_has_a_picture_and_a_mask(side: int) -> None:
    for one in scenes(20, pairs=0.3):
        picture, mask = world.render(one, side)
        assert picture.shape == (side, side, 3)
        assert mask.shape == (side, side)
        assert picture.dtype == mask.dtype == np.uint8
        assert {int(v) for v in np.unique(mask)} == {0} | {1 + words.SHAPES.index(t.shape) for t in one.things}


def test_the_mask_says_where_the_object_is() -> None:
    """Within the rim a solid thing has its own colour; two pixels outside, the picture is the bare background."""
    for shape, colour in product(words.SHAPES, words.COLOURS):
        solid = replace(PLAIN, shape=shape, colour=colour, angle=0.3)
        picture, mask = world.render(Scene((solid,), "stone", None, 7))
        bare, _ = world.render(Scene((), "stone", None, 7))
        outside = ~grown(mask > 0)
        touched = (picture != bare).any(-1)[outside]
        assert touched.mean() < 0.002, (shape, colour)  # tips finer than a pixel are drawn faintly and not in the mask
        inside = ~grown(mask == 0)
        true = np.abs(picture[inside] / 255 - words.COLOURS[colour]).max(-1) < 0.01
        assert len(true) >= 20, shape
        assert true.mean() > 0.9, (shape, colour)  # where two parts of a shape meet, a trace of their rims may show


def grown(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`area` [H, W] and all that lies two pixels from it."""
    padded = np.pad(area, 2)
    side = len(area)
    return np.logical_or.reduce([padded[i : i + side, j : j + side] for i in range(5) for j in range(5)])


def test_objects_are_big_enough_to_see_and_stay_inside() -> None:
    wide = (np.arange(-16, 80, dtype=np.float32) + 0.5) / 64  # a quarter more on every side
    x, y = np.meshgrid(wide, wide)
    for one in (one for scene in scenes(300, pairs=0.3) for one in scene.things):
        cos, sin = np.cos(one.angle), np.sin(one.angle)
        dx, dy = (x - one.x) / one.radius, (y - one.y) / one.radius
        cover = shapes.distance(one.shape, dx * cos + dy * sin, dy * cos - dx * sin) < 0
        seen = cover[16:80, 16:80].sum()
        assert seen > 0.97 * cover.sum(), one  # the tip of a fin may leave the picture, no more
        assert seen > 0.02 * 64 * 64, one


def test_labels_tell_the_first_thing_and_the_background() -> None:
    for one in scenes(300, pairs=0.5):
        labels = one.labels()
        first = one.things[0]
        assert words.SHAPES[labels["shape"]] == first.shape
        assert list(words.COLOURS)[labels["colour"]] == first.colour
        assert words.TEXTURES[labels["texture"]] == first.texture
        assert words.BACKGROUNDS[labels["background"]] == one.background
        assert divmod(labels["shape_colour"], len(words.COLOURS)) == (labels["shape"], labels["colour"])


def test_the_world_is_as_wide_as_promised() -> None:
    assert CLASSES["shape"] >= 16
    assert CLASSES["colour"] >= 10
    assert CLASSES["texture"] >= 6
    assert CLASSES["background"] >= 8
    assert set(TASKS) == set(CLASSES) == set(scenes(1)[0].labels())


@pytest.mark.parametrize("task", ["shape", "colour", "background", "texture"])
def test_classes_are_balanced(task: str) -> None:
    """6,400 draws: five standard deviations around the expected count of a uniform class."""
    count = Counter(one.labels()[task] for one in scenes(6400, split="test"))
    share = 1 / CLASSES[task]
    slack = 5 * (6400 * share * (1 - share)) ** 0.5
    assert len(count) == CLASSES[task]
    assert all(abs(n - 6400 * share) < slack for n in count.values())


def test_attributes_are_drawn_independently() -> None:
    """If a shape came with a colour, an encoder could read one off the other."""
    joint = Counter(one.labels()["shape_colour"] for one in scenes(8000))
    assert len(joint) == CLASSES["shape_colour"]
    expected = 8000 / CLASSES["shape_colour"]
    chi2 = sum((n - expected) ** 2 / expected for n in joint.values())
    degrees = CLASSES["shape_colour"] - 1
    assert chi2 < degrees + 5 * (2 * degrees) ** 0.5


def test_a_relation_is_true_of_the_picture() -> None:
    for one in scenes(600, pairs=1.0):
        first, second = one.things
        dx, dy = first.x - second.x, first.y - second.y
        across, down = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[one.relation or ""]
        assert dx * across + dy * down > 0.4  # along the named direction,
        assert abs(dx * down) + abs(dy * across) < 0.25  # and hardly along the other
        assert (first.shape, first.colour) != (second.shape, second.colour)


def test_two_things_never_touch() -> None:
    for one in scenes(150, pairs=1.0):
        first, second = one.things
        _, mask = world.render(one)
        alone = [np.count_nonzero(world.render(Scene((t,), one.background, None, 0))[1]) for t in (first, second)]
        assert np.count_nonzero(mask) == sum(alone)


def test_pairs_is_the_share_of_scenes_with_two_things() -> None:
    assert all(len(s.things) == 1 and s.relation is None for s in scenes(200, pairs=0.0))
    share = sum(len(s.things) == 2 for s in scenes(4000, pairs=0.25)) / 4000
    assert abs(share - 0.25) < 0.04


def test_position_is_the_cell_of_the_centre() -> None:
    assert replace(PLAIN, x=0.2, y=0.8).position == (-1, 1)
    assert replace(PLAIN, x=0.5, y=0.45).position == (0, 0)
    assert replace(PLAIN, x=0.7, y=0.1).position == (1, -1)


def test_sizes_leave_gaps_between_them() -> None:
    ranges = [words.SIZES[name] for name in ("small", "medium", "large")]
    assert all(smaller[1] + 0.03 < larger[0] for smaller, larger in pairwise(ranges))


@pytest.mark.parametrize("shape", words.SHAPES)
def test_a_silhouette_has_an_inside_and_fits_its_radius(shape: str) -> None:
    axis = np.linspace(-1.5, 1.5, 121, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    distance = shapes.distance(shape, x, y)
    assert (distance < 0).sum() > 500
    assert (distance[np.hypot(x, y) > 1.3] > 0).all()


def test_silhouettes_differ() -> None:
    """Any two shapes disagree on a seventh of the area that either of them covers."""
    axis = np.linspace(-1.2, 1.2, 97, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    covers = {shape: shapes.distance(shape, x, y) < 0 for shape in words.SHAPES}
    for one, two in product(words.SHAPES, words.SHAPES):
        if one < two:
            union = (covers[one] | covers[two]).sum()
            assert (covers[one] ^ covers[two]).sum() > union / 7, (one, two)


def test_textures_differ_and_solid_is_plain() -> None:
    axis = np.linspace(-1, 1, 81, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    patterns = {texture: shapes.pattern(texture, x, y) for texture in words.TEXTURES}
    assert not patterns["solid"].any()
    for one, two in product(words.TEXTURES, words.TEXTURES):
        if one < two:
            assert np.mean(patterns[one] != patterns[two]) > 0.15, (one, two)


def test_colours_stand_apart_from_each_other_and_from_every_background() -> None:
    tones = {name: np.asarray(tone) for name, tone in words.COLOURS.items()}
    for one, two in product(tones, tones):
        if one < two:
            assert np.linalg.norm(tones[one] - tones[two]) > 0.3, (one, two)
    for background in words.BACKGROUNDS:
        picture = world.render(Scene((), background, None, 3))[0] / 255
        mean = picture.mean((0, 1))
        for name, tone in tones.items():
            rim = words.shades(name)[1]  # white on snow and black at night are told by their rim
            assert max(np.linalg.norm(tone - mean), np.linalg.norm(np.asarray(rim) - mean)) > 0.3, (background, name)


def test_backgrounds_are_tellable_apart_and_never_the_same_twice() -> None:
    means = {}
    for background in words.BACKGROUNDS:
        pictures = [world.render(Scene((), background, None, noise))[0] for noise in range(6)]
        assert not np.array_equal(pictures[0], pictures[1])
        means[background] = np.mean([[p.mean((0, 1)), p.std((0, 1))] for p in pictures], 0)
    for one, two in product(means, means):
        if one < two:
            assert np.abs(means[one] - means[two]).max() > 8, (one, two)
