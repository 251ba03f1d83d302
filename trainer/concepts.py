"""The concept that a caption was made from, as the class of its images."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from config import ConfigError
from trainer.config import ObjectiveConfig, SupervisedConfig

NO_CLASS = -1
"""Of a caption whose concept is not on the list."""
LISTS = Path(__file__).parent / "lists"


def classes_of(config: ObjectiveConfig) -> Mapping[str, int]:
    """Concept to class, by the objective's list; empty for an objective that has none.

    Raises ConfigError if there is no such file, or if it names a concept twice.
    """
    if not isinstance(config, SupervisedConfig):
        return {}
    names = read_list(
        "objective.classes", str(LISTS / "nano_concepts.txt") if config.classes == "nano" else config.classes
    )
    return {name: number for number, name in enumerate(names)}


def read_list(field: str, file: str) -> list[str]:
    """The lines of a text file, without empty ones. Raises ConfigError naming the config's field and the file."""
    try:
        lines = [line.strip() for line in Path(file).read_text("utf-8").splitlines()]
    except OSError as error:
        raise ConfigError(
            f"{field}: cannot read {file!r}: {error.strerror}. Give a text file, one entry a line"
        ) from None
    entries = [line for line in lines if line]
    for entry, count in Counter(entries).items():
        if count > 1:
            raise ConfigError(f"{field}: {file!r} has {entry!r} {count} times")
    return entries
