"""What each caption shall be about: a draw from the tree of concept lists.

    list (by weight) -> template (by its mix) -> concept -> background or relation -> context

The tree is SynCLR's (section 3.1) with the lists left to the config. Request i depends on (seed, i) and the lists
alone, so any worker can work out any part of the run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import ConfigError
from generator import files
from generator.config import ConceptConfig, ConceptListConfig
from generator.prompt import TEMPLATES, Template
from generator.seeds import pick, pick_weighted


@dataclass(frozen=True)
class Request:
    """What caption `index` shall name. `other` is the background or relation, None for the template `concept`."""

    index: int
    draws: str  # name of its draws; near-twins (ConceptConfig.group) have one name and differ in the concept alone
    template: Template
    pool: str
    context: int
    concept: str
    other: str | None


@dataclass(frozen=True)
class ConceptList:
    """A list as read from its files."""

    concepts: tuple[str, ...]
    suffix: str
    pool: str
    weight: float
    templates: tuple[float, ...]  # weights, in the order of TEMPLATES
    backgrounds: Mapping[str, Sequence[str]]  # by concept
    relations: Sequence[str]


@dataclass(frozen=True)
class Concepts:
    """All lists of a run, and the draws from them."""

    lists: tuple[ConceptList, ...]
    group: int
    contexts: int
    seed: int

    def request(self, index: int) -> Request:
        """What caption `index` is about."""
        group, member = divmod(index, self.group)
        drawn = self.lists[pick_weighted([one.weight for one in self.lists], self.seed, "list", group)]
        # A group longer than the list goes through it again, with fresh draws: twins that share the concept are copies.
        round_, place = divmod(member, len(drawn.concepts))
        draws = f"{group}.{round_}"
        template = TEMPLATES[pick_weighted(drawn.templates, self.seed, "template", draws)]
        first = pick(len(drawn.concepts), self.seed, "concept", draws)
        concept = drawn.concepts[(first + place) % len(drawn.concepts)]
        return Request(
            index=index,
            draws=draws,
            template=template,
            pool=drawn.pool if template == "concept" else template,
            context=pick(self.contexts, self.seed, "context", draws),
            concept=concept + drawn.suffix,
            other=self._other(drawn, template, concept, draws),
        )

    def _other(self, drawn: ConceptList, template: Template, concept: str, draws: str) -> str | None:
        if template == "concept":
            return None
        choices = drawn.relations if template == "relation" else drawn.backgrounds[concept]
        return choices[pick(len(choices), self.seed, template, draws)]


def load(config: ConceptConfig, *, contexts: int, seed: int) -> Concepts:
    """Reads every list.

    Raises:
        ConfigError: a file is missing, empty or malformed, naming field and file.
    """
    lists = tuple(_load(one, f"concept.lists.{i}") for i, one in enumerate(config.lists))
    return Concepts(lists, config.group, contexts, seed)


def list_files(config: ConceptConfig) -> dict[str, Path]:
    """Every file that the lists are read from, by its name in the config."""
    named = [
        (f"concept.lists.{i}.{field}", name)
        for i, one in enumerate(config.lists)
        for field, name in (("file", one.file), ("backgrounds", one.backgrounds), ("relations", one.relations))
    ]
    return {name: files.locate(name, field) for field, name in named if name is not None}


def _load(config: ConceptListConfig, field: str) -> ConceptList:
    concepts = files.lines(files.locate(config.file, f"{field}.file"), f"{field}.file")
    mix = config.templates
    backgrounds: Mapping[str, Sequence[str]] = {}
    if config.backgrounds is not None:
        where = f"{field}.backgrounds"
        backgrounds = _backgrounds(files.locate(config.backgrounds, where), where, concepts)
    relations: Sequence[str] = ()
    if config.relations is not None:
        relations = files.lines(files.locate(config.relations, f"{field}.relations"), f"{field}.relations")
    return ConceptList(
        concepts,
        config.suffix,
        config.examples,
        config.weight,
        (mix.concept, mix.background, mix.relation),
        backgrounds,
        relations,
    )


def _backgrounds(file: Path, field: str, concepts: Sequence[str]) -> dict[str, Sequence[str]]:
    """Backgrounds of each concept: the same lines for all of a text file, those of each concept of a JSON file."""
    if file.suffix != ".json":
        return dict.fromkeys(concepts, files.lines(file, field))
    try:
        table = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{field}: {file} cannot be read: {error}") from error
    if not isinstance(table, dict) or not all(_is_list_of_text(places) for places in table.values()):
        raise ConfigError(f"{field}: {file} must be an object {{concept: [background, ...]}} with no empty list")
    missing = [concept for concept in concepts if concept not in table]
    if missing:
        some = ", ".join(repr(concept) for concept in missing[:3])
        raise ConfigError(f"{field}: {file} has no backgrounds for {len(missing)} concepts, such as {some}")
    return {concept: tuple(table[concept]) for concept in concepts}


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one.strip() for one in value)
