"""Whatever the grammar says of a scene, the reader gets back; and nothing that was not said."""

import itertools

import numpy as np
import pytest

from nano import captions, world
from nano import vocabulary as words
from nano.captions import Told


def told_scenes(count: int, *, pairs: float, seed: int = 0) -> list[tuple[world.Scene, str, Told]]:
    rng = np.random.default_rng(seed)
    scenes = [world.scene(seed, "train", index, pairs=pairs) for index in range(count)]
    texts = [captions.describe(scene, rng) for scene in scenes]
    return [(scene, text, captions.parse(text)) for scene, text in zip(scenes, texts, strict=True)]


def test_what_was_described_is_read_back() -> None:
    for scene, text, told in told_scenes(4000, pairs=0.4):
        assert told.shapes == tuple(t.shape for t in scene.things), text
        assert told.colours == tuple(t.colour for t in scene.things), text
        assert told.relation == scene.relation, text
        assert told.background in (None, scene.background), text


def test_texture_and_size_of_a_single_thing_are_read_back_or_left_open() -> None:
    for scene, text, told in told_scenes(3000, pairs=0.0):
        thing = scene.things[0]
        assert told.texture in (None, thing.texture), text
        assert told.size in (None, thing.size), text


def test_captions_leave_things_open_about_as_often_as_intended() -> None:
    told = [one for _, _, one in told_scenes(2000, pairs=0.0)]
    for said, share in (
        (sum(t.background is not None for t in told), 0.6),
        (sum(t.texture is not None for t in told), 0.6),
    ):
        assert abs(said / 2000 - share) < 0.05


def test_the_background_is_named_when_asked_and_hidden_when_not() -> None:
    rng = np.random.default_rng(1)
    for index in range(1000):
        scene = world.scene(1, "train", index, pairs=0.3)
        assert captions.parse(captions.describe(scene, rng, background=True)).background == scene.background
        assert captions.parse(captions.describe(scene, rng, background=False)).background is None


def test_a_position_in_a_caption_is_where_the_thing_is() -> None:
    phrases = {phrase: cell for cell, said in words.POSITION_PHRASES.items() for phrase in said}
    found = 0
    for scene, text, _ in told_scenes(3000, pairs=0.0):
        # "at the top" stands inside "at the top left": the longest phrase is the one that was said.
        said = max((phrase for phrase in phrases if phrase in text), key=len, default=None)
        if said and not any(said in phrase for phrase in words.BACKGROUND_PHRASES[scene.background]):
            found += 1
            assert phrases[said] == scene.things[0].position, text
    assert found > 1000


def test_the_same_dice_give_the_same_caption() -> None:
    scene = world.scene(0, "train", 5, pairs=1.0)
    assert captions.describe(scene, np.random.default_rng(3)) == captions.describe(scene, np.random.default_rng(3))


def test_captions_vary() -> None:
    assert len({text for _, text, _ in told_scenes(3000, pairs=0.1)}) > 2850


def test_articles_are_english() -> None:
    for _, text, _ in told_scenes(2000, pairs=0.5):
        tokens = text.split()
        for article, word in itertools.pairwise(tokens):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), text


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red star", Told(("star",), ("red",), None, None, None, None)),
        ("a photo of a tiny spotted blue fish on a green meadow",
         Told(("fish",), ("blue",), "dotted", "small", "meadow", None)),
        ("an orange ring to the left of a big black bar on grey stone",
         Told(("ring", "bar"), ("orange", "black"), None, "large", "stone", "left of")),
        ("a plain white heart on the left", Told(("heart",), ("white",), "solid", None, None, None)),
        ("A Pink Drop Right Above a Cyan Cross", Told(("drop", "cross"), ("pink", "cyan"), None, None, None, "above")),
        ("nothing of this world", Told((), (), None, None, None, None)),
    ],
)  # fmt: skip
def test_parse_by_example(caption: str, expected: Told) -> None:
    assert captions.parse(caption) == expected


def test_names_looks_for_whole_words_and_true_relations() -> None:
    assert captions.names("a red star on fresh snow", "star")
    assert captions.names("a red star on fresh snow", "snow")
    assert captions.names("a ringed red disc in the night sky", "night sky")
    assert not captions.names("a ringed red disc", "ring")
    assert captions.names("a red star left of a blue bar", "left of")
    assert not captions.names("a red star on the left", "left of")
    assert not captions.names("a red star right above a blue bar", "right of")


def test_every_word_of_the_vocabulary_belongs_to_one_class() -> None:
    """Otherwise `parse` would have to guess."""
    groups = [words.SHAPES, tuple(words.COLOURS), *words.TEXTURE_WORDS.values(), *words.SIZE_WORDS.values()]
    said = [word for group in groups for word in group]
    assert len(said) == len(set(said))
    for name, phrases in words.BACKGROUND_PHRASES.items():
        assert all(name in phrase for phrase in phrases)
        assert not any(set(phrase.split()) & set(said) - set(words.COLOURS) for phrase in phrases)
