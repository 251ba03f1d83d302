"""The small world's concept lists and in-context examples, as the plain files that the caption stage reads.

`python -m nano.concepts` writes nano/lists/ again; a test keeps files and vocabulary in step.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from nano import captions, world
from nano import vocabulary as words
from nano.world import Scene

FOLDER: Final = Path(__file__).parent / "lists"
_POOL = 96  # examples per pool: 96 * 95 * 94 ordered triples
_SEED = 20260101


def contents() -> dict[str, str]:
    """Path under FOLDER -> text of every file."""
    lists = {
        "objects.txt": words.SHAPES,
        "backgrounds.txt": words.BACKGROUNDS,
        "textures.txt": words.TEXTURES,
        "relations.txt": words.RELATIONS,
    }
    pools = {f"examples/{name}.txt": _pool(number, *spec) for number, (name, spec) in enumerate(_POOLS.items())}
    return {path: "".join(f"{line}\n" for line in lines) for path, lines in (lists | pools).items()}


# The key of a scene, whether its caption must name the background (None: as it comes), and the share of pairs.
_POOLS: dict[str, tuple[Callable[[Scene], tuple[str, ...]], bool | None, float]] = {
    "object": (lambda scene: (scene.things[0].shape,), None, 0.0),
    "place": (lambda scene: (scene.background,), True, 0.0),
    "texture": (lambda scene: (scene.things[0].texture,), None, 0.0),
    "background": (lambda scene: (scene.things[0].shape, scene.background), True, 0.0),
    "relation": (lambda scene: (scene.things[0].shape, scene.relation or ""), None, 1.0),
}


def _pool(number: int, key: Callable[[Scene], tuple[str, ...]], background: bool | None, pairs: float) -> list[str]:
    """`key => caption` lines from scenes of the painter's split, each naming the whole of its key."""
    rng = np.random.default_rng([_SEED, number])
    found: list[str] = []
    while len(found) < _POOL:
        scene = world.scene(_SEED, "painter", int(rng.integers(2**40)), pairs=pairs)
        caption = captions.describe(scene, rng, background=background)
        if all(captions.names(caption, part) for part in key(scene)):
            found.append(f"{', '.join(key(scene))} => {caption}")
    return found


def write(folder: Path = FOLDER) -> None:
    """Writes every file."""
    for path, text in contents().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
