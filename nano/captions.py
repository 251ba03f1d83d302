"""Captions of the small world: how a scene is told in words, and which attributes a caption names.

`describe` (writer) and `parse` (reader) live together: whatever the grammar can say, the reader understands.
"""

import re
from dataclasses import dataclass

import numpy as np

from nano import vocabulary as words
from nano.world import Scene, Thing


@dataclass(frozen=True)
class Told:
    """What a caption says. Attributes it leaves open are None; the painter is free there."""

    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    texture: str | None
    size: str | None
    background: str | None
    relation: str | None


def describe(scene: Scene, rng: np.random.Generator, *, background: bool | None = None) -> str:
    """A caption of `scene`. Shape and colour are always named, the rest now and then.

    Args:
        background: name the background always (True), never (False), or in six of ten captions (None).
    """
    name_background = rng.random() < 0.6 if background is None else background
    parts = [_pick(rng, words.OPENINGS) + _noun(scene.things[0], rng)]
    if scene.relation:
        parts += [_pick(rng, words.RELATION_PHRASES[scene.relation]), _noun(scene.things[1], rng)]
    elif rng.random() < 0.5:
        parts.append(_pick(rng, words.POSITION_PHRASES[scene.things[0].position]))
    if name_background:
        phrase = _pick(rng, words.BACKGROUND_PHRASES[scene.background])
        # Either order is natural for one thing; with a relation the place stays at the end, where it binds to both.
        parts.insert(1 if len(parts) == 2 and rng.random() < 0.5 else len(parts), phrase)
    return " ".join(parts)


def _noun(thing: Thing, rng: np.random.Generator) -> str:
    """`a large striped red star`: size and texture are optional, their order with the colour is not."""
    said = [thing.colour, thing.shape]
    if rng.random() < 0.6:
        said.insert(0, _pick(rng, words.TEXTURE_WORDS[thing.texture]))
    if rng.random() < 0.5:
        said.insert(0, _pick(rng, words.SIZE_WORDS[thing.size]))
    return f"{'an' if said[0][0] in 'aeiou' else 'a'} {' '.join(said)}"


def parse(caption: str) -> Told:
    """Reads a caption of the grammar (or of a model that learnt it) back into attributes."""
    text = caption.lower()
    # "on grey stone", "a green meadow": colours inside a background's phrase say nothing of the object.
    background = next((b for b in words.BACKGROUNDS if _has(text, b)), None)
    if background:
        for phrase in sorted(words.BACKGROUND_PHRASES[background], key=len, reverse=True):
            text = text.replace(phrase, " | ")
    tokens = re.findall(r"[a-z]+", text)
    relation = next(
        (
            r
            for r, phrases in words.RELATION_PHRASES.items()
            if any(_has(text, f"{p} a{n}") for p in phrases for n in ("", "n"))
        ),
        None,
    )
    return Told(
        shapes=tuple(t for t in tokens if t in words.SHAPES),
        colours=tuple(t for t in tokens if t in words.COLOURS),
        texture=_class_of(tokens, words.TEXTURE_WORDS),
        size=_class_of(tokens, words.SIZE_WORDS),
        background=background,
        relation=relation,
    )


def names(caption: str, concept: str) -> bool:
    """Whether the words of `concept` (a shape, background or relation) stand in the caption."""
    if concept in words.RELATIONS:
        return parse(caption).relation == concept
    return _has(caption.lower(), concept)


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None


def _class_of(tokens: list[str], table: dict[str, tuple[str, ...]]) -> str | None:
    """The class whose word comes first: it belongs to the first thing."""
    return next((name for token in tokens for name, said in table.items() if token in said), None)


def _pick(rng: np.random.Generator, pool: tuple[str, ...]) -> str:
    return pool[int(rng.integers(len(pool)))]
