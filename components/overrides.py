"""Which stage of a pipeline an override is for: `--schedule.steps 200` is for the one whose config has such a key."""

from collections.abc import Sequence

from components.roles import LaunchError
from config import Section
from config.cli import parse
from config.tree import members, unknown

Config = type[Section]


def sort_out(overrides: Sequence[str], configs: Sequence[Config]) -> dict[Config, tuple[str, ...]]:
    """The overrides of each config, in order. One that several have (`tracking.uri`, `run`) goes to all of them.

    A key that is wrong further down (`caption.cuont`) goes to the config that knows most of it and can say what is
    wrong.

    Raises:
        LaunchError: an override is malformed, or not even the first part of its key is known.
    """
    given: dict[Config, tuple[str, ...]] = dict.fromkeys(configs, ())
    for path, text in parse(overrides).overrides:
        depths = {config: depth(config, path) for config in configs}
        best = max(depths.values())
        if not best:
            known = dict.fromkeys(name for config in configs for name in config.model_fields)
            raise LaunchError(f"--{path}: {unknown('key', path.partition('.')[0], known)}")
        for config in configs:
            if depths[config] == best:
                given[config] += (f"--{path}={text}",)
    return given


def depth(config: Config, path: str) -> int:
    """How many parts of a dotted key, from its start, a config knows."""
    kinds: list[Config] = [config]
    names = path.split(".")
    for known, name in enumerate(names):
        fields = [kind.model_fields[name] for kind in kinds if name in kind.model_fields]
        if not fields:
            return known
        kinds = [
            kind
            for field in fields
            for kind in members(field.annotation)
            if isinstance(kind, type) and issubclass(kind, Section)
        ]
    return len(names)
