"""The three prompt templates: what a language model reads before it writes one caption.

    Write a short image description for the object and the background.      one instruction line
    star, snow => a small red star on fresh snow                            three examples in context
    fish, sea => a striped fish floating in the sea
    heart, meadow => a picture of a large pink heart in a meadow
    drop, stone =>                                                          the concept, last

The model goes on after `=>`; its caption ends at the first newline. The templates are SynCLR's (section 3.1: c, c+bg
and c+rel with three in-context examples each; a place or a texture is a concept of the first), the wording is our own.

Deviation: SynCLR draws three random examples anew for each prompt. Here a template has K fixed contexts (instruction
and examples), and the concept stands last. So an engine with a prefix cache computes K prefixes, not one per prompt.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from config import ConfigError
from generator.seeds import pick

Template = Literal["concept", "background", "relation"]
TEMPLATES: Final[tuple[Template, ...]] = get_args(Template)
EXAMPLES: Final = 3  # in-context examples per prompt, as in the paper

_INSTRUCTIONS: Final[dict[Template, str]] = {
    "concept": "Write a short image description for the object.",
    "background": "Write a short image description for the object and the background.",
    "relation": "Write a short image description for the object and the relation.",
}
_ARROW: Final = " =>"
_PAIRED: Final = ("background", "relation")  # pools whose keys have two parts


@dataclass(frozen=True)
class Example:
    """One line of a pool: `star, snow => a small red star on fresh snow`. `other` is the background or the relation."""

    concept: str
    other: str | None
    caption: str


# Examples by pool name: `object`, `place`, `texture` (all three for the template `concept`), `background`, `relation`.
Pools = Mapping[str, Sequence[Example]]


def key(concept: str, other: str | None = None) -> str:
    """What stands before the arrow: `star`, `star, snow` or `star, left of`."""
    return concept if other is None else f"{concept}, {other}"


def prompt(template: Template, examples: Sequence[Example], concept: str, other: str | None = None) -> str:
    """The text for the model, from the instruction to the last `=>`, with no space or newline around it."""
    shown = [f"{key(e.concept, e.other)}{_ARROW} {e.caption}" for e in examples]
    return "\n".join([_INSTRUCTIONS[template], *shown, key(concept, other) + _ARROW])


def completion(text: str) -> str:
    """The caption in what the model wrote after the prompt: its first line, stripped."""
    return text.lstrip(" ").split("\n", 1)[0].strip()


def context(pool: Sequence[Example], seed: int, name: str, number: int) -> tuple[Example, ...]:
    """Context `number` of the pool `name`: EXAMPLES different examples, the same ones for ever for the same seed."""
    left = list(pool)
    return tuple(left.pop(pick(len(left), seed, "context", name, number, slot)) for slot in range(EXAMPLES))


def load_pools(folder: Path) -> dict[str, tuple[Example, ...]]:
    """Every `<pool>.txt` of `folder`: one example per line; empty lines and lines that start with # are skipped.

    Raises:
        ConfigError: the folder holds no pool, or a line is no example, naming file and line.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ConfigError(f"caption.examples: no example pools (*.txt) in {folder}")
    return {file.stem: _pool(file) for file in files}


def _pool(file: Path) -> tuple[Example, ...]:
    lines = file.read_text("utf-8").splitlines()
    examples = tuple(
        _example(line.strip(), f"{file}:{number}", pair=file.stem in _PAIRED)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )
    if len(examples) < EXAMPLES:
        raise ConfigError(f"{file}: a pool needs at least {EXAMPLES} examples, got {len(examples)}")
    return examples


def _example(line: str, where: str, *, pair: bool) -> Example:
    shape = r"([^,]+), (.+?) => (.+)" if pair else r"(.+?)() => (.+)"
    found = re.fullmatch(shape, line)
    if not found:
        expected = "concept, background or relation => caption" if pair else "concept => caption"
        raise ConfigError(f"{where}: expected '{expected}', got '{line}'")
    concept, other, caption = found.groups()
    return Example(concept, other or None, caption)
