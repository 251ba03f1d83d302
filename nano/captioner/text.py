"""What the captioner reads and writes: the caption stage's own prompts, filled with captions of the small world.

The template is imported from the caption stage, so the model is trained on exactly what it will be asked. Everything is
a pure function of seeds.

The captions of one training prompt differ from each other in whatever the keys leave open: colours, texture,
background, the second shape. So the model learns to bring something new after its examples. Without that, top-p 0.9
would always drop the same one of ten equally likely colours; with it, another one drops out after each context.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from generator.prompt import EXAMPLES, Example, Template, prompt
from nano import captions, world

# Pools of examples, as the caption stage knows them: their template, and their share of the training prompts. Relations
# are the hardest to write, so they get more than a run asks for.
TEMPLATES: Final[dict[str, Template]] = {
    "object": "concept",
    "background": "background",
    "relation": "relation",
    "place": "concept",
    "texture": "concept",
}
SHARES: Final[dict[str, float]] = {"object": 0.3, "background": 0.3, "relation": 0.25, "place": 0.08, "texture": 0.07}
# Fields of nano.captions.Told that a pool's keys decide: they may repeat within a prompt.
_GIVEN: Final[dict[str, tuple[str, ...]]] = {
    "object": ("shape",),
    "background": ("shape", "background"),
    "relation": ("shape",),
    "place": ("shape", "background"),
    "texture": ("shape", "texture"),
}

_DRAWS: Final = 1000  # for four lines; six do in the middle, 31 at most in 3,000 prompts


@dataclass(frozen=True)
class Line:
    """One `key => caption` and what of it must not come twice in a prompt: pairs such as ("colour", "red")."""

    example: Example
    novel: frozenset[tuple[str, str]]


Library = dict[str, list[Line]]


def library(seed: int, size: int) -> Library:
    """`size` lines of each pool, drawn once because making them costs more than a training step."""
    return {
        pool: [line(pool, rng) for _ in range(size)]
        for number, pool in enumerate(TEMPLATES)
        for rng in [np.random.default_rng([seed, number])]
    }


def line(pool: str, rng: np.random.Generator) -> Line:
    """A key of this pool with a caption that names the whole of it, of the painter's split of the world."""
    while True:
        seed, index = int(rng.integers(2**32)), int(rng.integers(2**40))
        scene = world.scene(seed, "painter", index, pairs=float(pool == "relation"))
        caption = captions.describe(scene, rng, background=True if pool in ("background", "place") else None)
        concept, other = _key(pool, scene)
        if captions.names(caption, concept):  # a texture may go unnamed, or by its other word
            return Line(Example(concept, other, caption), _novel(pool, captions.parse(caption)))


def sample(lines: Library, rng: np.random.Generator) -> tuple[str, str]:
    """A random prompt, and its completion from the space before the caption to the newline after it.

    Raises:
        ValueError: the library has too few lines for four that share nothing.
    """
    pool = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    chosen: list[Line] = []
    for _ in range(_DRAWS):
        one = lines[pool][int(rng.integers(len(lines[pool])))]
        if all(one.novel.isdisjoint(former.novel) for former in chosen):
            chosen.append(one)
        if len(chosen) == EXAMPLES + 1:
            *shown, last = (one.example for one in chosen)
            return prompt(TEMPLATES[pool], shown, last.concept, last.other), f" {last.caption}\n"
    raise ValueError(
        f"no {EXAMPLES + 1} of {len(lines[pool])} lines of pool {pool} share nothing; make the library larger"
    )


def _key(pool: str, scene: world.Scene) -> tuple[str, str | None]:
    first = scene.things[0]
    match pool:
        case "place":
            return scene.background, None
        case "texture":
            return first.texture, None
        case "background":
            return first.shape, scene.background
        case "relation":
            return first.shape, scene.relation
        case _:
            return first.shape, None


def _novel(pool: str, told: captions.Told) -> frozenset[tuple[str, str]]:
    said = {
        "shape": told.shapes[0],
        "colour": told.colours[0],
        "texture": told.texture,
        "background": told.background,
        "second shape": told.shapes[1] if len(told.shapes) > 1 else None,
        "second colour": told.colours[1] if len(told.colours) > 1 else None,
    }
    return frozenset((name, word) for name, word in said.items() if word and name not in _GIVEN[pool])
